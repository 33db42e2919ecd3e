"""Signatures of S3 requests, as Amazon's manual works them out (the CloudWatch provider's are in its own tests).

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

from hashlib import sha256

import pytest

from ciflow.sigv4 import CONTENT, Account, signed

AT = 1_369_353_600.0  # 2013-05-24T00:00:00Z
EXAMPLE = Account("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PUT = {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}


@pytest.mark.parametrize(
    ("method", "below", "headers", "body", "signature"),
    [
        ("GET", "test.txt", {"range": "bytes=0-9"}, b"",
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("PUT", "test%24file.text", PUT, b"Welcome to Amazon S3.",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ("GET", "?lifecycle=", {}, b"",
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("GET", "?max-keys=2&prefix=J", {}, b"",
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)  # fmt: skip
def test_requests_to_s3_are_signed_as_amazon_shows(
    method: str, below: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    url = f"https://examplebucket.s3.amazonaws.com/{below}"
    made = signed(method, url, {**headers, CONTENT: sha256(body).hexdigest()}, b"not read", AT, "us-east-1/s3", EXAMPLE)
    assert made["Authorization"].endswith(f"Signature={signature}")
