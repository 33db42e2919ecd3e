// One request as JSON on standard input, one answer as JSON on standard output.
// {verify: {bundle, artifact, pem}} gives {} or {refused}; {make: {what, artifact, statement}} gives {bundle, pem}. Bytes are base64.
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
process.stdout.write(JSON.stringify(asked.verify ? verify(asked.verify) : make(asked.make)));
