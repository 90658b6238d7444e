import { readFileSync } from "node:fs";
import { checkServerIdentity, createSecureContext, type PeerCertificate } from "node:tls";

import { ChannelCredentials } from "@grpc/grpc-js";

import type { Endpoint } from "./endpoint.js";
import { messageOf, misuse } from "./errors.js";

/** Files in PEM form. A worker reads them for each of its connections, and a client once. */
export interface TlsFiles {
  /** The authorities that signed the certificates of GoConductor (default: those that Node trusts). */
  ca?: string;
  /** The certificate of this program (default: it presents none). */
  certificate?: string;
  /** The private key of the certificate. */
  key?: string;
}

/** The roles in the certificates of GoConductor, as spiffe://<trust domain>/<role>. */
export type Role = "api-gateway" | "saga-executor";

const roles = ["api-gateway", "saga-executor", "state-store", "leader-elector", "worker", "operator"];

/**
 * Returns the credentials of a channel. The certificate of a gateway must contain its host name. That of an executor must
 * contain the role instead: executors announce addresses, which certificates need not contain.
 */
export function channelCredentials(endpoint: Endpoint, files: TlsFiles, role: Role): ChannelCredentials {
  if (!endpoint.secure) {
    return ChannelCredentials.createInsecure();
  }
  if ((files.certificate === undefined) !== (files.key === undefined)) {
    throw misuse("a certificate and its key must be set together");
  }
  const [ca, certificate, key] = [files.ca, files.certificate, files.key].map(read);
  if (ca !== undefined && !ca.includes("-----BEGIN CERTIFICATE-----")) {
    throw misuse(`the file ${files.ca} contains no certificate in PEM form`);
  }
  try {
    createSecureContext({ cert: certificate, key });
  } catch (cause) {
    throw misuse(`failed to load the certificate ${files.certificate}: ${messageOf(cause)}`, cause);
  }
  return ChannelCredentials.createSsl(ca ?? null, key ?? null, certificate ?? null, {
    checkServerIdentity: (host, peer) => verify(endpoint.host, host, peer, role),
  });
}

function read(file: string | undefined): Buffer | undefined {
  if (file === undefined) {
    return undefined;
  }
  try {
    return readFileSync(file);
  } catch (cause) {
    throw misuse(`failed to read ${file}: ${messageOf(cause)}`, cause);
  }
}

/** Checks the identity of a server whose chain is valid. */
function verify(endpoint: string, host: string, peer: PeerCertificate, role: Role): Error | undefined {
  const byName = role === "api-gateway";
  if (byName) {
    const problem = checkServerIdentity(endpoint === "" ? host : endpoint, peer);
    if (problem !== undefined) {
      return problem;
    }
  }
  const found = rolesOf(peer.subjectaltname ?? "");
  // The certificate of a gateway may be of a public authority, without a role.
  if (found.includes(role) || (byName && found.length === 0)) {
    return undefined;
  }
  return new Error(`the certificate of the server has the roles [${found.join(", ")}]; expected ${role}`);
}

/** Returns the roles in the alternative names of a certificate. */
export function rolesOf(subjectAltName: string): string[] {
  // Node quotes a name that contains a comma. Parts of such a name do not count.
  return subjectAltName.replaceAll(/"(?:[^"\\]|\\.)*"/g, "").split(", ").flatMap((name) => {
    const [, role] = /^URI:spiffe:\/\/[^/]*\/([^/]+)/.exec(name) ?? [];
    return role !== undefined && roles.includes(role) ? [role] : [];
  });
}
