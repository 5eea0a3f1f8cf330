# The catalogue: what happens for each declared service. One entry, a handful of states.
#
# The states get their arguments when they run, from the resolved entry (salt-call catalogue.show NAME):
# __slot__:salt:catalogue.part(NAME, PART). Nothing that an entry says can so be mistaken for YAML.
{%- set services = salt["catalogue.services"]() | rejectattr("name", "equalto", "authentik") | list %}
{%- set authentik_is_here = salt["catalogue.infrastructure"]("authentik").domain %}
{%- set logins = salt["fleet.logins"]() %}

include:
  - infra.podman
  - infra.facts
  - infra.caddy
  - services.valid
  - authentik

# First what is to be gone: its port, domain or name may be wanted by what comes after.
{%- for service in services if service.state == "absent" %}
{%- include "services/absent.jinja" %}
{%- endfor %}

{%- for service in services if service.state == "stopped" %}
{%- include "services/prepared.jinja" %}
{%- include "services/stopped.jinja" %}
{%- endfor %}

# All of them are started, then one after the other is waited for: they start side by side.
{%- for service in services if service.state == "present" %}
{%- if service.refused %}
{%- include "services/refused.jinja" %}
{%- else %}
{%- include "services/prepared.jinja" %}
{%- include "services/started.jinja" %}
{%- endif %}
{%- endfor %}

{%- for service in services if service.state == "present" and not service.refused %}
{%- include "services/healthy.jinja" %}
{%- endfor %}

{%- for name, auth in logins.items() if auth %}

# Service {{ name }} runs on another host, and its users log in here.
Service {{ name }} shares its client secret:
  secret.all_present:
    - name: {{ name }}
    - secrets: __slot__:salt:fleet.client_secret({{ name }})
    - require:
      - catalogue: The catalogue is valid
      - sls: authentik

Service {{ name }} has its login:
  login.present:
    - name: {{ name }}
    - auth: __slot__:salt:fleet.login({{ name }})
    - require:
      - secret: Service {{ name }} shares its client secret
{%- endfor %}

{%- if authentik_is_here and (services or logins) %}

# What Authentik still has of services that nobody logs in to any more.
Other services have no login:
  login.absent:
    - services: {{ ((services | rejectattr("auth") | map(attribute="name") | list)
        + (logins.items() | rejectattr(1) | map(attribute=0) | list)) | json }}
    - require:
      - catalogue: The catalogue is valid
      - facts: The facts are valid
{%- endif %}
