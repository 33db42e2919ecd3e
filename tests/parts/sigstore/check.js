// One request as JSON on standard input, one answer as JSON on standard output.
// {verify: {bundle, artifact, pem}} gives {} or {refused}, and so does
// {trust: {bundle, artifact, chain, log, identity, issuer}}, of a bundle with a certificate (the CT log is not asked); {make: {what, artifact, statement}} gives {bundle, pem}. Bytes are base64.
const crypto = require("crypto");
const { bundleFromJSON, bundleToJSON, toMessageSignatureBundle, toDSSEBundle } = require("@sigstore/bundle");
const { dsse } = require("@sigstore/core");
const { toSignedEntity, toTrustMaterial, Verifier } = require("@sigstore/verify");

const bytes = (text) => Buffer.from(text, "base64");
const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };

function verify({ bundle, artifact, pem }) {
  const publicKey = crypto.createPublicKey(bytes(pem));
  const trust = toTrustMaterial(nobody, () => ({ publicKey, validFor: () => true }));
  try {
    new Verifier(trust, none).verify(toSignedEntity(bundleFromJSON(bundle), bytes(artifact)));
    return {};
  } catch (error) {
    return { refused: String(error) };
  }
}

function trust({ bundle, artifact, chain, log, identity, issuer }) {
  const validFor = { start: new Date(0), end: new Date(8640000000000000) };
  const certificates = chain
    .split(/(?=-----BEGIN)/)
    .map((pem) => ({ rawBytes: new crypto.X509Certificate(pem).raw }));
  const rawBytes = crypto.createPublicKey(bytes(log)).export({ type: "spki", format: "der" });
  const keyId = crypto.createHash("sha256").update(rawBytes).digest();
  const publicKey = { rawBytes, keyDetails: "PKIX_ECDSA_P256_SHA_256", validFor };
  const root = {
    ...nobody,
    certificateAuthorities: [{ certChain: { certificates }, validFor }],
    tlogs: [{ baseUrl: "https://log.example", logId: { keyId }, publicKey }],
  };
  const policy = { subjectAlternativeName: identity, extensions: { issuer } };
  try {
    const asked = { tlogThreshold: 1, ctlogThreshold: 0, timestampThreshold: 0 };
    new Verifier(toTrustMaterial(root), asked).verify(toSignedEntity(bundleFromJSON(bundle), bytes(artifact)), policy);
    return {};
  } catch (error) {
    return { refused: String(error) };
  }
}

function make({ what, artifact, statement }) {
  const { privateKey, publicKey } = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const keyHint = crypto.createHash("sha256").update(spki).digest("base64");
  const type = "application/vnd.in-toto+json";
  const signed = what === "message" ? bytes(artifact) : dsse.preAuthEncoding(type, bytes(statement));
  const signature = crypto.sign("sha256", signed, privateKey);
  const digest = crypto.createHash("sha256").update(bytes(artifact)).digest();
  const made =
    what === "message"
      ? toMessageSignatureBundle({ digest, signature, keyHint })
      : toDSSEBundle({ artifact: bytes(statement), artifactType: type, signature, keyHint });
  return { bundle: bundleToJSON(made), pem: publicKey.export({ type: "spki", format: "pem" }) };
}

const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(asked.verify ? verify(asked.verify) : asked.trust ? trust(asked.trust) : make(asked.make)));
