"""The playbook language: files to the model, with every fault placed. `load.load` is the way in."""
