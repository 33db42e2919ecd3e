"""Programs: `load.py` and `expect.py` run on a host, the others on the controller. Modules start, none import them."""
