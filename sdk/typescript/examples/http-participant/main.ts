// A participant over plain HTTP, without an SDK: goconductor service set parcels --url http://127.0.0.1:9101
import { createServer } from "node:http";

const responses = new Map<string, string>(); // by idempotency key; a real service stores them in its database

const server = createServer(({ headers, url }, response) => {
  const key = String(headers["idempotency-key"]);
  if (!responses.has(key)) {
    responses.set(key, JSON.stringify({ done: url }));
  }
  response.setHeader("Content-Type", "application/json").end(responses.get(key));
});

server.listen(Number(process.env["PORT"] ?? 9101), "127.0.0.1");
