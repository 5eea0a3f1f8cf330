# Example services, none of them unless the site's own pillar asks: rick:examples: [notes]
{%- set examples = salt["catalogue.examples"]() %}
{%- if examples %}
include:
{%- for example in examples %}
  - examples.{{ example }}
{%- endfor %}
{%- else %}
# An SLS with no state at all is an error to Salt; an empty mapping is not.
{}
{%- endif %}
