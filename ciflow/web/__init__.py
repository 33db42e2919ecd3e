"""The live page and its API over the journal: the folds of the commands, read by other eyes."""
