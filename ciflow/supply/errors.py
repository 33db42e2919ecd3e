"""Everything that this package refuses.

SupplyError (ValueError)
  MetadataError      text that is not what `cargo metadata` writes, or was made with the wrong options
  LockError          text that is not a Cargo.lock, or one that is not the lock of that metadata
  DocumentError      a document from elsewhere that is damaged, hostile, or of no format known here; says where
  UnsupportedError   well formed, and of a kind that is not covered yet
  AdvisoryError      an advisory, or a database of them, that can't be read whole
  PolicyError        what a project says of findings or licences, and can't be understood
  FormatFault        a program or archive that is cut off, or points outside of itself
  KeyFault           a key that cannot be read, with a wrong passphrase, or of another kind
  PolicyFault        signatures that hold, and do not say what is asked for
  SignatureError     a signature, envelope or bundle that does not hold
"""

from __future__ import annotations


class SupplyError(ValueError):
    """Base of this package's refusals; its text is fit for a user."""


class MetadataError(SupplyError):
    """Not the output of `cargo metadata --locked --format-version 1`."""


class LockError(SupplyError):
    """Not a Cargo.lock, or not the one that belongs to the metadata."""


class DocumentError(SupplyError):
    """A bill of materials, archive or program from elsewhere that can't be read; its text begins with the place."""


class UnsupportedError(SupplyError):
    """Understood, but not covered: a wrong document would be worse than none."""


class AdvisoryError(SupplyError):
    """An advisory, a version in one, or a database of them that can't be read: it may be the one that counts."""


class PolicyError(SupplyError):
    """An entry of a policy that can't be understood: to pass it over could let something through."""


class KeyFault(SupplyError):
    """A key that is damaged, locked with another passphrase, or neither ECDSA P-256 nor Ed25519."""


class SignatureError(SupplyError):
    """A signature, envelope or bundle that is damaged or does not match."""


class PolicyFault(SupplyError):
    """What is vouched for is not what the policy asks: all that is missing, a line each."""


class FormatFault(SupplyError):
    """A file that is not whole, or not of the format that it begins like."""
