// A participant whose actions fail as the input of a workflow says: {"faults": {"ACTION": "refuse" | "busy"}}.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Participant {
  url: string;
  /** Whether the faults are repaired: every action succeeds. */
  repaired: boolean;
  close: () => Promise<void>;
}

interface Body {
  input?: Body;
  faults?: Record<string, string>;
}

export async function startParticipant(message = "the participant refuses"): Promise<Participant> {
  const participant = { repaired: false } as Participant;
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      const body = JSON.parse(text || "{}") as Body;
      const action = (request.url ?? "").slice(1);
      const fault = participant.repaired ? undefined : (body.input ?? body).faults?.[action];
      response.writeHead(fault === "refuse" ? 409 : fault === "busy" ? 429 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(fault ? { code: fault.toUpperCase(), message } : { done: action }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  participant.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  participant.close = () => new Promise((resolve) => {
    server.closeAllConnections();
    server.close(() => resolve());
  });
  return participant;
}
