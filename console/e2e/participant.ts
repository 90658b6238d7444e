// A participant whose actions fail as the input of a workflow says: {"faults": {"ACTION": "refuse" | "busy" | "once"}}.
// `busy` fails every attempt and is retried, `once` only the first one.
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
  output?: Record<string, unknown>;
  faults?: Record<string, string>;
  order_id?: string;
  amount?: number;
  items?: { sku?: string }[];
}

type Reply = readonly [status: number, body: unknown];
type Act = (action: string, body: Body, key: string) => Reply;

async function serve(act: (participant: Participant) => Act): Promise<Participant> {
  const participant = { repaired: false } as Participant;
  const reply = act(participant);
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      const [status, body] = reply((request.url ?? "").slice(1), JSON.parse(text || "{}") as Body, String(request.headers["idempotency-key"] ?? ""));
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
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

export function startParticipant(message = "the participant refuses"): Promise<Participant> {
  const seen = new Set<string>();
  return serve((participant) => (action, body, key) => {
    const fault = participant.repaired ? undefined : (body.input ?? body).faults?.[action];
    const first = !seen.has(key);
    seen.add(key);
    if (fault === "refuse") return [409, { code: "REFUSE", message }];
    if (fault === "busy" || (fault === "once" && first)) return [429, { code: "BUSY", message }];
    return [200, { done: action }];
  });
}

/** The participants of `goconductor dev --demo`, for the processes, which have none. */
export function startDemo(): Promise<Participant> {
  return serve(() => (action, body) => {
    switch (action) {
      case "payments/charge": return [200, { payment_id: `pay-${body.order_id ?? ""}`, charged: body.amount ?? 0 }];
      case "payments/refund": return [200, { refunded: body.output?.["charged"] ?? 0 }];
      case "inventory/reserve": return body.items?.some((item) => item.sku === "sold-out")
        ? [409, { code: "OUT_OF_STOCK", message: "sold-out is not in stock" }] : [200, { reserved: body.items?.length ?? 0 }];
      case "inventory/release": return [200, { released: true }];
      default: return [404, { code: "NO_SUCH_ACTION", message: action }];
    }
  });
}
