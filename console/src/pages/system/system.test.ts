import { beforeEach, expect, test, vi } from "vitest";
import { readAll } from "../../api/paged";
import { ApiError } from "../../api/problem";
import { isProtected, setProtected } from "../../api/protection";
import { isReturnPath } from "../../api/sign-in";
import { textToType } from "../../ui/ConfirmDialog";
import { keyState, list, type AccessKey } from "../access-keys/access-key";
import { runAll } from "../dead-letters/run-all";
import { draftOf, scheduleBody, toUtc } from "../schedules/draft";
import { parsePairs, serviceBody } from "../services/pairs";

beforeEach(() => localStorage.clear());

test("lines of names and values are parsed, or the wrong one is named", () => {
  expect(parsePairs("Authorization: secret://token\n\n a : b:c ").pairs).toEqual({ Authorization: "secret://token", a: "b:c" });
  expect(parsePairs("a: 1\nb").problem).toContain("b");
});

test("service body has only what was entered", () => {
  expect(serviceBody({ url: "", headers: "", limit: "64", actions: "charge: 8" }).body).toEqual({ max_in_flight: 64, actions: { charge: { max_in_flight: 8 } } });
  expect(serviceBody({ url: " http://a ", headers: "", limit: "", actions: "" }).body).toEqual({ http: { url: "http://a" } });
  for (const limit of ["0", "-1", "1.5", "x"]) expect(serviceBody({ url: "", headers: "", limit, actions: "" }).problem).toBeDefined();
});

test("schedule body has a pattern or an interval, never both", () => {
  const draft = { ...draftOf(undefined), name: "nightly", definition: "report", cron: "30 2 * * *", every: "15m", timezone: "Europe/Berlin" };
  expect(scheduleBody(draft, undefined).body).toMatchObject({ cron: "30 2 * * *", timezone: "Europe/Berlin", input: {} });
  const every = scheduleBody({ ...draft, kind: "every" }, undefined).body;
  expect(every).toMatchObject({ every: "15m" });
  expect(every).not.toHaveProperty("cron");
  expect(every).not.toHaveProperty("timezone");
  expect(scheduleBody({ ...draft, input: "{" }, undefined).problem).toContain("JSON");
  expect(scheduleBody({ ...draft, cron: " " }, undefined).problem).toBeDefined();
  expect(toUtc("")).toBeUndefined();
  expect(toUtc("2026-11-30T12:00")).toMatch(/Z$/);
});

test("key is active until it is revoked or expired", () => {
  const key = { revoked_at: null, expires_at: "2026-01-02T00:00:00Z" } as AccessKey;
  expect(keyState(key, Date.parse("2026-01-01T00:00:00Z"))).toBe("active");
  expect(keyState(key, Date.parse("2026-01-02T00:00:00Z"))).toBe("expired");
  expect(keyState({ ...key, revoked_at: "2026-01-01T00:00:00Z" }, 0)).toBe("revoked");
  expect(list(" shop, pay\n*")).toEqual(["shop", "pay", "*"]);
});

test("run over many continues after a failure, counts a missing one as done, and stops without permission", async () => {
  const fail = (status: number) => Promise.reject(new ApiError({ status, title: "no" }));
  const progress: number[] = [];
  const change = vi.fn((id: string) => (id === "b" ? fail(503) : id === "c" ? fail(404) : Promise.resolve()));
  await expect(runAll(["a", "b", "c", "d"], change, (done) => progress.push(done))).rejects.toMatchObject({ status: 503, title: "1 of 4 failed" });
  expect(progress).toEqual([1, 2, 3, 4]);
  const refused = vi.fn(() => fail(403));
  await expect(runAll(["a", "b"], refused, () => undefined)).rejects.toMatchObject({ status: 403 });
  expect(refused).toHaveBeenCalledTimes(1);
});

test("all pages are read until the signal ends it", async () => {
  const read = (token: string) => Promise.resolve({ rows: [token], next: token.length < 3 ? `${token}x` : "" });
  const seen: string[] = [];
  await readAll(read, (rows) => void seen.push(...rows));
  expect(seen).toEqual(["", "x", "xx", "xxx"]);
  const control = new AbortController();
  let parts = 0;
  await readAll(read, () => {
    parts += 1;
    control.abort();
  }, control.signal);
  expect(parts).toBe(1);
});

test("destructive changes in protected namespaces need the name", () => {
  expect(textToType({ danger: true }, "shop")).toBeUndefined();
  expect(textToType({ danger: true }, "prod-eu")).toBe("prod-eu");
  expect(textToType({}, "prod-eu")).toBeUndefined();
  expect(textToType({ danger: true, typed: "token" }, "prod-eu")).toBe("token");
  setProtected("shop", true);
  expect(isProtected("shop")).toBe(true);
  setProtected("shop", false);
  expect(isProtected("shop")).toBe(false);
  localStorage.setItem("goconductor.protected", "broken");
  expect(isProtected("shop")).toBe(false);
});

test("sign-in returns to the console only", () => {
  for (const path of ["/ui", "/ui/", "/ui/workflows?x=1"]) expect(isReturnPath(path)).toBe(true);
  for (const path of ["", "/uix", "//evil.example/ui", "https://evil.example/ui", "/ui\\evil", "/api/v1"]) expect(isReturnPath(path)).toBe(false);
});
