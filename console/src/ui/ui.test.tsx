import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import { cli, shellQuote } from "./CopyAs";
import { diffJson, findMatches, flatten } from "./json-tree";
import { StatusBadge } from "./StatusBadge";
import { Table } from "./Table";
import { formatDuration, formatRelative } from "./time";
import { useParam } from "./useParam";
import { statuses } from "../strings/statuses";

test.each([[0, "0 ms"], [999, "999 ms"], [3_250, "3.2 s"], [59_999, "59 s"], [245_000, "4 min 5 s"], [7_380_000, "2 h 3 min"], [86_400_000, "1 d"]])(
  "duration of %d ms is %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

test("relative time has one unit", () => {
  expect(formatRelative(0, 1_000)).toBe("just now");
  expect(formatRelative(0, 7_300_000)).toBe("2 h ago");
  expect(formatRelative(90_000, 0)).toBe("in 1 min");
});

test("each status has an icon and a text", () => {
  for (const [status, { label }] of Object.entries(statuses)) {
    const { container, unmount } = render(<StatusBadge status={status} />);
    expect(container.textContent).toBe(label);
    expect(container.querySelector("path")?.getAttribute("d")).not.toContain("M8 6a2 2");
    unmount();
  }
});

test("arguments are quoted for the shell", () => {
  expect(shellQuote("it's")).toBe(`'it'\\''s'`);
  expect(cli("workflow", "cancel", "a", "--reason", "a b; rm")).toBe("goconductor workflow cancel a --reason 'a b; rm'");
});

test("JSON lines follow what is open, and search opens the way to a match", () => {
  const value = { a: { b: [1, "needle"] }, "c/d": null };
  expect(flatten(value, (path) => path === "").map((line) => line.path)).toEqual(["", "/a", "/c~1d"]);
  const { matches, open } = findMatches(value, "needle");
  expect([...matches]).toEqual(["/a/b/1"]);
  expect(open).toEqual(new Set(["/a/b", "/a", ""]));
});

test("JSON difference names added, removed and changed values", () => {
  expect(diffJson({ a: 1, b: [1, 2] }, { b: [1, 3], c: null })).toEqual([
    { path: "/a", kind: "removed", before: 1 },
    { path: "/b/1", kind: "changed", before: 2, after: 3 },
    { path: "/c", kind: "added", after: null },
  ]);
});

test("table is operated by keyboard", async () => {
  const [open, select] = [vi.fn(), vi.fn()];
  render(
    <Table label="rows" auto rows={["a", "b", "c"]} rowKey={(row) => row} onOpen={open} selected={new Set()} onSelect={select}
      columns={[{ id: "name", header: "Name", cell: (row) => row }]} />,
  );
  const user = userEvent.setup();
  screen.getAllByRole("row")[1]?.focus();
  await user.keyboard("{ArrowDown}");
  await vi.waitFor(() => expect(document.activeElement?.textContent).toBe("b"));
  await user.keyboard(" {Enter}");
  expect(select).toHaveBeenCalledWith(new Set(["b"]));
  expect(open).toHaveBeenCalledWith("b");
});

test("two parameters of the URL are set at once, and a percent sign stays", async () => {
  window.history.replaceState(null, "", "/ui/start?other=1");
  function Choice() {
    const [name, setName] = useParam("name");
    const [version, setVersion] = useParam("version");
    return <button type="button" onClick={() => { setName("100%41"); setVersion("2"); }}>{`${name} ${version}`}</button>;
  }
  render(<Choice />);
  await userEvent.click(screen.getByRole("button"));
  expect(screen.getByRole("button").textContent).toBe("100%41 2");
  expect(window.location.search).toBe("?other=1&name=100%2541&version=2");
});
