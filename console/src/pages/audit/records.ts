import { api, data } from "../../api/client";

export type Filter = Readonly<Record<string, string>>;

/** Reads a page of records that match a filter. */
export async function readRecords(filter: Filter, order: "newest" | "oldest", token: string, signal?: AbortSignal) {
  const page = await data(api.GET("/api/v1/audit", {
    params: { query: { ...filter, order, page_size: order === "oldest" ? 1000 : 200, page_token: token } }, ...(signal && { signal }),
  }));
  return { rows: page.records, next: page.next_page_token };
}
