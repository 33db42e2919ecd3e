"""Programs: `load.py` runs on a host, `sign.py` on the controller. Modules start them, none import them."""
