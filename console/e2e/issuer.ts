// An OpenID Connect issuer on this machine: discovery, keys, a sign-in page, and the exchange of the code with PKCE.
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const CLIENT = "console";

export interface Issuer {
  url: string;
  /** The user who signs in next. */
  subject: string;
  groups: readonly string[];
  close: () => Promise<void>;
}

interface Pending {
  challenge: string;
  nonce: string;
  redirect: string;
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

export async function startIssuer(): Promise<Issuer> {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pending = new Map<string, Pending>();
  const issuer = { subject: "ada", groups: [] as readonly string[] } as Issuer;

  const token = (nonce: string): string => {
    const now = Math.floor(Date.now() / 1_000);
    const claims = { iss: issuer.url, aud: CLIENT, sub: issuer.subject, groups: issuer.groups, nonce, iat: now, exp: now + 600 };
    const message = `${encode({ alg: "RS256", typ: "JWT", kid: "one" })}.${encode(claims)}`;
    return `${message}.${sign("sha256", Buffer.from(message), privateKey).toString("base64url")}`;
  };
  const json = (response: ServerResponse, status: number, body: unknown) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };
  const authorize = (query: URLSearchParams, response: ServerResponse) => {
    const code = randomBytes(16).toString("hex");
    pending.set(code, { challenge: query.get("code_challenge") ?? "", nonce: query.get("nonce") ?? "", redirect: query.get("redirect_uri") ?? "" });
    const state = encodeURIComponent(query.get("state") ?? "");
    response.writeHead(200, { "content-type": "text/html" });
    response.end(`<!doctype html><html lang="en"><title>Issuer</title><h1>Issuer</h1><a href="${query.get("redirect_uri")}?code=${code}&state=${state}">Allow</a>
      <a href="${query.get("redirect_uri")}?error=access_denied&state=${state}">Refuse</a></html>`);
  };
  const exchange = (form: URLSearchParams, response: ServerResponse) => {
    const code = form.get("code") ?? "";
    const begun = pending.get(code);
    pending.delete(code);
    const challenge = createHash("sha256").update(form.get("code_verifier") ?? "").digest("base64url");
    if (begun?.challenge !== challenge || begun.redirect !== form.get("redirect_uri")) return json(response, 400, { error: "invalid_grant" });
    json(response, 200, { token_type: "Bearer", access_token: "unused", id_token: token(begun.nonce) });
  };

  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", issuer.url);
    switch (pathname) {
      case "/.well-known/openid-configuration":
        return json(response, 200, { issuer: issuer.url, jwks_uri: `${issuer.url}/keys`, authorization_endpoint: `${issuer.url}/authorize`, token_endpoint: `${issuer.url}/token` });
      case "/keys": return json(response, 200, { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "RS256" }] });
      case "/authorize": return authorize(searchParams, response);
      case "/token": return void bodyOf(request).then((body) => exchange(new URLSearchParams(body), response));
      default: return json(response, 404, {});
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  issuer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  issuer.close = () => new Promise((resolve) => {
    server.closeAllConnections();
    server.close(() => resolve());
  });
  return issuer;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}
