"""
A TEST DOUBLE of Authentik 2026.2: it behaves like its API and its embedded outpost, as far as the tests need them.

It is no identity provider: passwords are kept as they are, and nobody has looked for holes in it. How true it is to the
original is tested: it replays every scenario of ``tests/contract``.

- ``fields`` and ``rest`` behave like the framework that Authentik is made with: validation, lists, rights, errors.
- ``accounts``, ``providers``, ``policies``, ``outposts``, ``blueprints``, ``rbac`` and ``system`` are its objects.
- ``login`` and ``sessions`` are what a browser sees of it, ``oauth`` and ``tokens`` what an application does, and
  ``proxy`` is the embedded outpost.
- ``seed`` is what a fresh installation has.
- ``server`` puts them together: ``create_app()`` is a WSGI application with everything in memory.
- ``__main__`` is the program of the image that ``build`` makes;
  ``database`` is what its server and its ``worker`` share.
"""
