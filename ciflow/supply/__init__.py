"""What a release is made of, and who vouches for it: bills of materials, attestations, signatures.

Pure: texts and bytes in, values and bytes out. Nothing here runs a command, reads a clock or opens a
connection, so that one input always gives one output.
"""
