"""The command line: argv to calls, one file for each command, loaded only when it is asked for."""
