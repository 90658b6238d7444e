//! Invalid definitions: each is refused with a code, a location and a message.

use crate::yaml;

/// A definition and its problems: code, pointer, line, and a part of the message.
type Case = (&'static str, &'static [(&'static str, &'static str, u32, &'static str)]);

const CASES: &[Case] = &[
    // The text and its top level.
    ("workflow: a\nsteps: [", &[("GC1001", "", 3, "")]),
    ("[1, 2]", &[("GC1003", "", 1, "a list")]),
    ("just text", &[("GC1003", "", 1, "a string")]),
    ("", &[("GC1001", "", 1, "empty")]),
    ("workflow: a\n", &[("GC1005", "", 1, "`steps`")]),
    ("steps: [{name: s, run: a/b, compensate: none}]", &[("GC1005", "", 1, "`workflow`")]),
    (
        "workflow: a\nworkflow: b\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1007", "", 2, "workflow")],
    ),
    ("workflow: a\nsteps: []", &[("GC1006", "/steps", 2, "at least one")]),
    ("workflow: a\nsteps: {name: s}", &[("GC1003", "/steps", 2, "a list")]),
    (
        "workflow: a\nstesp: []\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1004", "/stesp", 2, "stesp")],
    ),
    (
        "workflow: My Workflow\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/workflow", 1, "not a valid definition name")],
    ),
    (
        "workflow: 7\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1003", "/workflow", 1, "a number")],
    ),
    (
        "workflow: a\ninput: {type: objekt}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/input", 2, "JSON Schema")],
    ),
    (
        "workflow: a\ninput: 5\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1003", "/input", 2, "JSON Schema")],
    ),
    (
        "workflow: a\ninput: {$ref: 'http://example.com/x.json'}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/input", 2, "")],
    ),
    (
        "workflow: a\nschedule: {cron: '61 * * * *'}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1027", "/schedule/cron", 2, "61 * * * *")],
    ),
    (
        "workflow: a\nschedule: {cron: '@daily', timezone: Mars}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1027", "/schedule/timezone", 2, "Mars")],
    ),
    (
        "workflow: a\nschedule: {cron: '@daily', input: '${ schedule.day }'}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1027", "/schedule/input", 2, "schedule.day")],
    ),
    (
        "workflow: a\nschedule: {cron: '@daily', overlap: queue}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/schedule/overlap", 2, "buffer_one")],
    ),
    (
        "workflow: a\nschedule: {timezone: UTC}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1005", "/schedule", 2, "cron")],
    ),
    (
        "workflow: a\nlock: []\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/lock", 2, "empty")],
    ),
    (
        "workflow: a\nlock: {key: k, hold: step}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/lock", 2, "until the workflow ends")],
    ),
    (
        "workflow: a\nlock: '${ steps.s.output }'\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1014", "/lock", 2, "has not run")],
    ),
    (
        "workflow: a\ntimeout: 0s\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/timeout", 2, "")],
    ),
    (
        "workflow: a\nlabels: {a: x, \"b\\u0007\": y}\nsteps: [{name: s, run: a/b, compensate: none}]",
        &[("GC1006", "/labels/b\u{7}", 2, "has an invalid name")],
    ),
    // Values that would be changed or dropped.
    (
        "workflow: a\nsteps:\n- name: s\n  run: a/b\n  compensate: none\n  input: {n: 123456789012345678901234567890}",
        &[("GC1015", "", 6, "123456789012345678901234567890")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, input: {n: 0x10000000000000000}}",
        &[("GC1015", "", 3, "0x10000000000000000")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, input: {n: -1.5e999}}",
        &[("GC1015", "", 3, "-1.5e999")],
    ),
    (
        "workflow: a\ninput:\n  properties: {n: {maximum: 18446744073709551616}}\nsteps: []",
        &[("GC1015", "", 3, "18446744073709551616")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, input: {x: [{a: 1, b: 2, a: 1}]}}",
        &[("GC1007", "", 3, "duplicate key `a`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, retry: {backoff: fixed, factor: 3}}",
        &[("GC1006", "/steps/0/retry/factor", 3, "`backoff: exponential`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: {run: a/c, timeout: {queue: soon}}}",
        &[("GC1006", "/steps/0/compensate/timeout/queue", 3, "soon")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: {run: a/c, timeout: {all: 1m}}}",
        &[("GC1004", "/steps/0/compensate/timeout/all", 3, "unknown key `all`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: {call: {http: {url: 'http://x/undo'}}, timeout: {heartbeat: 1s}}}",
        &[("GC1025", "/steps/0/compensate/timeout/heartbeat", 3, "a call sends no heartbeats")],
    ),
    (
        "workflow: a\nsteps:\n- name: f\n  labels: {a: b}\n  parallel:\n    x: [{name: p, run: a/p, compensate: none}]\n    y: [{name: q, run: a/p, compensate: none}]",
        &[("GC1006", "/steps/0/labels", 4, "block")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, input: {n: '${ 0.12345678901234567890 }'}}",
        &[("GC1015", "/steps/0/input/n", 3, "0.12345678901234567890")],
    ),
    // Steps.
    ("workflow: a\nsteps:\n- {name: s, run: a/b}", &[("GC1011", "/steps/0", 3, "how it is compensated")]),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, depend_on: [x]}",
        &[("GC1004", "/steps/0/depend_on", 3, "depend_on")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, sleep: 5s, compensate: none}",
        &[("GC1010", "/steps/0", 3, "2 actions")],
    ),
    ("workflow: a\nsteps:\n- {name: s, compensate: none}", &[("GC1010", "/steps/0", 3, "no action")]),
    ("workflow: a\nsteps:\n- {run: a/b, compensate: none}", &[("GC1005", "/steps/0", 3, "`name`")]),
    (
        "workflow: a\nsteps:\n- {name: Pay-It, run: a/b, compensate: none}",
        &[("GC1006", "/steps/0/name", 3, "not a valid step name")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: ab, compensate: none}",
        &[("GC1006", "/steps/0/run", 3, "service/action")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/../b, compensate: none}",
        &[("GC1006", "/steps/0/run", 3, "not a valid action name")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: undo}",
        &[("GC1006", "/steps/0/compensate", 3, "has no service")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, timeout: 5 minutes}",
        &[("GC1006", "/steps/0/timeout", 3, "5 minutes")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, retry: {max_attempts: 0}}",
        &[("GC1006", "/steps/0/retry/max_attempts", 3, "at least 1")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, retry: {jitter: 2}}",
        &[("GC1006", "/steps/0/retry/jitter", 3, "0 to 1")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, kind: pivto}",
        &[("GC1006", "/steps/0/kind", 3, "pivto")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, join: most}",
        &[("GC1006", "/steps/0/join", 3, "most")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none}\n- {name: s, run: a/c, compensate: none}",
        &[("GC1007", "/steps/1/name", 4, "line 3")],
    ),
    // Waits.
    ("workflow: a\nsteps:\n- {name: s, sleep: soon}", &[("GC1021", "/steps/0/sleep", 3, "not a duration")]),
    (
        "workflow: a\nsteps:\n- {name: s, sleep: '${ steps.x.output }'}",
        &[("GC1014", "/steps/0/sleep", 3, "unknown step `x`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, sleep: 'in ${ input.days }d'}",
        &[("GC1021", "/steps/0/sleep", 3, "not a duration")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, sleep: 5s, compensate: a/b, timeout: 1s}",
        &[
            ("GC1021", "/steps/0/compensate", 3, "not a setting of `sleep`"),
            ("GC1021", "/steps/0/timeout", 3, "not a setting of `sleep`"),
        ],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, wait_for_signal: 'a b'}",
        &[("GC1021", "/steps/0/wait_for_signal", 3, "signal name")],
    ),
    (
        "workflow: a\nsteps:\n- name: s\n  wait_for_signal: {signal: go, on_timeout: continue}",
        &[("GC1021", "/steps/0/wait_for_signal/on_timeout", 4, "no time limit")],
    ),
    (
        "workflow: a\nsteps:\n- name: s\n  timeout: 1h\n  wait_for_signal: {signal: go, until: 2h}",
        &[("GC1021", "/steps/0/wait_for_signal/until", 5, "two time limits")],
    ),
    (
        "workflow: a\nsteps:\n- name: s\n  wait_for_signal: {signal: go, schema: {type: 7}}",
        &[("GC1021", "/steps/0/wait_for_signal/schema", 4, "not a valid JSON Schema")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, wait_for_signal: {signal: go, schema: {type: object}}}\n- {name: t, wait_for_signal: {signal: go, schema: {type: string}}}",
        &[("GC1021", "/steps/1", 4, "another `schema`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, child: {workflow: other, id: x}}",
        &[("GC1006", "/steps/0/child/id", 3, "the same in every workflow")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, child: {workflow: other, id: 'x/${ steps.t.output }'}}",
        &[("GC1014", "/steps/0/child/id", 3, "unknown step `t`")],
    ),
    // Children.
    ("workflow: a\nsteps:\n- {name: s, child: Other}", &[("GC1006", "/steps/0/child", 3, "Other")]),
    (
        "workflow: a\nsteps:\n- {name: s, child: {workflow: b, version: 0}}",
        &[("GC1006", "/steps/0/child/version", 3, "a whole number from 1")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, child: b, compensate: a/b}",
        &[("GC1006", "/steps/0/compensate", 3, "not a setting of `child`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, child: {workflow: b, on_parent_close: compensate}, kind: pivot}",
        &[("GC1012", "/steps/0/child/on_parent_close", 3, "never compensated")],
    ),
    (
        "workflow: a\ncompensation: {required: true}\nsteps:\n- {name: s, child: {workflow: b, on_parent_close: cancel}}",
        &[("GC1011", "/steps/0/child/on_parent_close", 4, "would stand")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {grpc: {target: 'http://x', method: b}}, compensate: none}",
        &[("GC1024", "/steps/0/call/grpc/method", 3, "package.Service/Method")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {grpc: {target: 'http://x/y', method: a/b}}, compensate: none}",
        &[("GC1024", "/steps/0/call/grpc/target", 3, "path")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {grpc: {target: x, method: a/b, metadata: {grpc-timeout: 1S}}}, \
         compensate: none}",
        &[("GC1024", "/steps/0/call/grpc/metadata/grpc-timeout", 3, "set by the executor")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {grpc: {target: x, method: a/b, metadata: {a-bin: AA}}}, \
         compensate: none}",
        &[("GC1024", "/steps/0/call/grpc/metadata/a-bin", 3, "binary")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {grpc: {target: '${ input.t }', method: a/b, metadata: {a: \
         'secret://b'}}}, compensate: none}",
        &[("GC1024", "/steps/0/call/grpc/target", 3, "elsewhere")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {grpc: {target: x, method: a/b, descriptor_set: '%'}}, \
         compensate: none}",
        &[("GC1029", "/steps/0/call/grpc/descriptor_set", 3, "not Base64")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://x/'}, grpc: {target: x, method: a/b}}, \
         compensate: none}",
        &[("GC1024", "/steps/0/call/grpc", 3, "either")],
    ),
    // Calls.
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'ftp://x/'}}, compensate: none}",
        &[("GC1024", "/steps/0/call/http/url", 3, "scheme")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://${ input.h }/'}}, compensate: none}",
        &[("GC1024", "/steps/0/call/http/url", 3, "host of the URL")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://x/', method: TRACE}}, compensate: none}",
        &[("GC1024", "/steps/0/call/http/method", 3, "TRACE")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://x/', headers: {Host: y}}}, compensate: none}",
        &[("GC1024", "/steps/0/call/http/headers/Host", 3, "`host`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://x/', headers: {a: Bearer secret://b}}}, \
         compensate: none}",
        &[("GC1024", "/steps/0/call/http/headers/a", 3, "whole value")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: '${ input.u }', headers: {a: 'secret://b'}}}, \
         compensate: none}",
        &[("GC1024", "/steps/0/call/http/url", 3, "elsewhere")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://x/', body: '${ steps.t.output }'}}, \
         compensate: none}",
        &[("GC1014", "/steps/0/call/http/body", 3, "unknown step `t`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://x/'}}, input: {a: 1}, compensate: none}",
        &[("GC1025", "/steps/0/input", 3, "`input`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, call: {http: {url: 'http://x/'}}}",
        &[("GC1011", "/steps/0", 3, "how it is compensated")],
    ),
    (
        "workflow: a\nsteps:\n- name: s\n  run: a/b\n  compensate: {run: a/c, call: {http: {url: 'http://x/'}}}",
        &[("GC1025", "/steps/0/compensate/run", 5, "has no `run`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, lock: {mode: shared}}",
        &[("GC1005", "/steps/0/lock", 3, "key")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, lock: {key: k, mode: both, hold: ever, wait: 1x}}",
        &[
            ("GC1006", "/steps/0/lock/mode", 3, ""),
            ("GC1006", "/steps/0/lock/hold", 3, ""),
            ("GC1006", "/steps/0/lock/wait", 3, ""),
        ],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, lock: ''}",
        &[("GC1006", "/steps/0/lock", 3, "lock key")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, lock: 7}",
        &[("GC1003", "/steps/0/lock", 3, "")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, lock: '${ inpt.x }'}",
        &[("GC1014", "/steps/0/lock", 3, "unknown name")],
    ),
    (
        "workflow: a\nsteps:\n- {name: p, lock: k, parallel: {x: [{name: s, run: a/b, compensate: none}], \
         y: [{name: t, run: a/b, compensate: none}]}}",
        &[("GC1006", "/steps/0/lock", 3, "block")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, probe: other/p}",
        &[("GC1022", "/steps/0/probe", 3, "the service of the step")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, on_unknown: probe}",
        &[("GC1022", "/steps/0/on_unknown", 3, "no probe")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, probe: a/p, on_unknown: park}",
        &[("GC1022", "/steps/0/on_unknown", 3, "never be used")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, kind: pivot, on_unknown: park}",
        &[("GC1012", "/steps/0/on_unknown", 3, "until its outcome is known")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, kind: pivot, on_error: continue}",
        &[("GC1012", "/steps/0/on_error", 3, "cannot be passed over")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, sleep: 1s, probe: a/p}",
        &[("GC1022", "/steps/0/probe", 3, "not a setting of `sleep`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: {run: a/c, when: steps.x.output}}",
        &[("GC1014", "/steps/0/compensate/when", 3, "unknown step `x`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, for_each: {in: input.x, as: index}}",
        &[("GC1028", "/steps/0/for_each/as", 3, "already")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, kind: pivot, for_each: input.x}",
        &[("GC1028", "/steps/0/for_each", 3, "a pivot is one operation")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, sleep: 1s, for_each: input.x}",
        &[("GC1028", "/steps/0/for_each", 3, "not a modifier of `sleep`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, for_each: input.x, lock: 'a/${ item }'}",
        &[("GC1014", "/steps/0/lock", 3, "unknown name `item`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: {run: a/c, input: '${ line }'}, for_each: input.x}",
        &[("GC1014", "/steps/0/compensate/input", 3, "unknown name `line`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, for_each: {in: input.x, max_parallel: 0}}",
        &[("GC1006", "/steps/0/for_each/max_parallel", 3, "at least 1")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, for_each: {in: input.x, as: line}, input: '${ item }'}",
        &[("GC1014", "/steps/0/input", 3, "unknown name `item`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, for_each: {in: line, as: line}}",
        &[("GC1014", "/steps/0/for_each/in", 3, "unknown name `line`")],
    ),
    // The graph.
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: a/c, depends_on: [t]}\n- {name: t, run: a/t, compensate: a/u}",
        &[("GC1009", "/steps/0", 3, "form a cycle")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: a/c, depends_on: [s]}",
        &[("GC1009", "/steps/0/depends_on/0", 3, "itself")],
    ),
    (
        "workflow: a\nsteps:\n- {name: pay, run: a/b, compensate: a/c}\n- {name: t, run: a/b, compensate: a/c, depends_on: [pya]}",
        &[("GC1008", "/steps/1/depends_on/0", 4, "pya")],
    ),
    (
        "workflow: a\nsteps:\n- name: f\n  parallel:\n    x: [{name: p, run: a/p, compensate: none, depends_on: [f]}]\n    y: [{name: q, run: a/p, compensate: none}]",
        &[("GC1009", "/steps/0/parallel/x/0/depends_on/0", 5, "block")],
    ),
    (
        "workflow: a\nsteps:\n- name: f\n  parallel:\n    x: [{name: p, run: a/p, compensate: none}]",
        &[("GC1006", "/steps/0/parallel", 5, "two branches")],
    ),
    (
        "workflow: a\nsteps:\n- name: f\n  switch:\n  - {steps: [{name: p, run: a/p, compensate: none}]}\n  - {when: 'true', steps: [{name: q, run: a/p, compensate: none}]}",
        &[("GC1006", "/steps/0/switch/0", 5, "always")],
    ),
    (
        "workflow: a\nsteps:\n- name: f\n  retry: none\n  parallel:\n    x: [{name: p, run: a/p, compensate: none}]\n    y: [{name: q, run: a/p, compensate: none}]",
        &[("GC1006", "/steps/0/retry", 4, "block")],
    ),
    // The pivot.
    (
        "workflow: a\nsteps:\n- {name: s, kind: pivot, run: a/b, compensate: a/c}",
        &[("GC1012", "/steps/0/compensate", 3, "never compensated")],
    ),
    (
        "workflow: a\nsteps:\n- {name: p, kind: pivot, run: a/p}\n- {name: s, run: a/b, compensate: a/c}",
        &[("GC1012", "/steps/1", 4, "after the pivot")],
    ),
    (
        "workflow: a\nsteps:\n- {name: p, kind: pivot, run: a/p}\n- {name: q, kind: pivot, run: a/p}",
        &[("GC1012", "/steps/1", 4, "second pivot")],
    ),
    ("workflow: a\nsteps:\n- {name: r, kind: retriable, run: a/p}", &[("GC1012", "/steps/0", 3, "no pivot")]),
    (
        "workflow: a\nsteps:\n- {name: r, kind: retriable, run: a/p}\n- {name: p, kind: pivot, run: a/p}",
        &[("GC1012", "/steps/0", 3, "before the pivot")],
    ),
    (
        "workflow: a\nsteps:\n- name: f\n  parallel:\n    x: [{name: p, kind: pivot, run: a/p}]\n    y: [{name: s, run: a/b, compensate: a/c}]",
        &[("GC1012", "/steps/0/parallel/y/0", 6, "neither before nor after")],
    ),
    // Expressions.
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'input.a >'}",
        &[("GC1013", "/steps/0/when", 3, "not a valid expression")],
    ),
    (
        "workflow: a\nsteps:\n- {name: in, run: a/b, compensate: none}\n- {name: s, run: a/b, compensate: none, when: steps.in.output.x == 1}",
        &[("GC1013", "/steps/1/when", 4, "`in` at column 7 is a reserved word")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, input: {v: '${ 7.0 * 2 }'}}",
        &[("GC1013", "/steps/0/input/v", 3, "`*` does not take a double and an int")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'workflow.version > workflow.id'}",
        &[("GC1013", "/steps/0/when", 3, "`>` does not take an int and a string")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'input.a and input.b'}",
        &[("GC1013", "/steps/0/when", 3, "`and` at column 9 is not an operator")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'size(input.a > 1'}",
        &[("GC1013", "/steps/0/when", 3, "`(` at column 5 is not closed")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'input.a == \"x'}",
        &[("GC1013", "/steps/0/when", 3, "string that begins at column 12")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, input: '${ input.a'}",
        &[("GC1013", "/steps/0/input", 3, "unterminated")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, input: {x: '${ }'}}",
        &[("GC1013", "/steps/0/input/x", 3, "empty")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'inptu.a > 1'}",
        &[("GC1014", "/steps/0/when", 3, "unknown name `inptu`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'now() > 1'}",
        &[("GC1013", "/steps/0/when", 3, "unknown function `now`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'steps.t.output.x == 1'}",
        &[("GC1014", "/steps/0/when", 3, "unknown step `t`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: a/c, input: {v: '${ steps.t.output.v }'}}\n- {name: t, run: a/t, compensate: a/u}",
        &[("GC1014", "/steps/0/input/v", 3, "may not have run")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: a/c, input: {v: '${ steps.s.output.v }'}}",
        &[("GC1014", "/steps/0/input/v", 3, "may not have run")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none}\n- {name: t, run: a/b, compensate: none, when: steps.s.result == 1}",
        &[("GC1014", "/steps/1/when", 4, "has no field `result`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: size(steps) > 1}",
        &[("GC1014", "/steps/0/when", 3, "`steps` has no value")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: size(signals) > 1}",
        &[("GC1014", "/steps/0/when", 3, "`signals` has no value")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: workflow.time == 1}",
        &[("GC1014", "/steps/0/when", 3, "has no field `time`")],
    ),
    (
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: none, when: 'input.a.all(x, input.b.all(y, x == y))'}",
        &[("GC1002", "/steps/0/when", 3, "inside another loop")],
    ),
    (
        "workflow: a\nsteps:\n- name: f\n  parallel:\n    x: [{name: p, run: a/p, compensate: none}]\n    y: [{name: q, run: a/p, compensate: none}]\noutput: '${ steps.f.output }'",
        &[("GC1014", "/output", 7, "is a block")],
    ),
];

#[test]
fn invalid_definition_is_refused_with_code_and_location() {
    let failures: Vec<String> = CASES.iter().filter_map(check).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn check((text, expected): &Case) -> Option<String> {
    let Err(problems) = yaml(text) else { return Some(format!("accepted:\n{text}")) };
    let as_expected = problems.len() == expected.len()
        && problems.iter().zip(*expected).all(|(problem, (code, pointer, line, message))| {
            (problem.code, problem.pointer.as_str(), problem.line) == (*code, *pointer, *line)
                && problem.column >= 1
                && problem.detail.contains(message)
        });
    (!as_expected).then(|| format!("{text}\nexpected {expected:?}\nfound {problems:#?}"))
}

#[test]
fn json_text_that_would_be_changed_is_refused_with_its_location() {
    let json = |input: &str| {
        let step = format!(r#"{{"name": "s", "run": "a/b", "compensate": "none", "input": {input}}}"#);
        let text = format!("{{\"workflow\": \"a\",\n\"steps\": [{step}]}}");
        let limits = goconductor_definition::Limits::default();
        goconductor_definition::parse(text.as_bytes(), goconductor_definition::Format::Json, &limits)
    };
    assert!(json("[1.50, 1e20, 18446744073709551615, -0.0]").is_ok());
    for (input, code, part) in [
        (r#"{"n": 0.12345678901234567890}"#, "GC1015", "0.12345678901234567890"),
        ("[1e400]", "GC1015", "1e400"),
        (r#"{"a": {"b": 1, "b": 2}}"#, "GC1007", "duplicate key `b`"),
        ("[1.2.3]", "GC1001", "expected a value"),
    ] {
        let problems = json(input).expect_err(input);
        assert_eq!((problems.len(), problems[0].code, problems[0].line), (1, code, 2), "{problems:?}");
        assert!(problems[0].detail.contains(part), "{problems:?}");
    }
}

#[test]
fn more_than_64_labels_are_refused() {
    let labels = |count: usize| {
        let labels: Vec<String> = (0..count).map(|number| format!("l{number}: x")).collect();
        yaml(&format!(
            "workflow: a\nlabels: {{{}}}\nsteps: [{{name: s, run: a/b, compensate: none}}]",
            labels.join(", ")
        ))
    };
    assert!(labels(64).is_ok());
    let problems = labels(65).unwrap_err();
    assert_eq!((problems.len(), problems[0].code, problems[0].pointer.as_str()), (1, "GC1002", "/labels"));
    assert!(problems[0].detail.contains("found 65 labels"), "{problems:?}");
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_text() {
    let problems = yaml(
        "workflow: Bad Name\n\
         titel: x\n\
         steps:\n\
         - {name: s, run: a/b}\n\
         - {name: t, run: ab, compensate: none, timeout: soon}\n\
         - {name: u, run: a/b, compensate: none, when: steps.nope.output}\n",
    )
    .unwrap_err();
    let found: Vec<_> = problems.iter().map(|problem| (problem.line, problem.code)).collect();
    assert_eq!(
        found,
        [(1, "GC1006"), (2, "GC1004"), (4, "GC1011"), (5, "GC1006"), (5, "GC1006"), (6, "GC1014")],
        "{problems:#?}"
    );
}

#[test]
fn hint_states_what_to_write_instead() {
    let hint = |when: &str| {
        let text = format!(
            "workflow: a\nsteps:\n- {{name: in, run: a/b, compensate: none}}\n- {{name: s, run: a/b, compensate: none, when: {when:?}}}"
        );
        yaml(&text).unwrap_err()[0].hint.clone().unwrap_or_default()
    };
    assert_eq!(hint("steps.in.output.x == 1"), "write `steps[\"in\"]`");
    assert_eq!(hint("1 + input.a.true == 2"), "write `input.a[\"true\"]`");
    assert_eq!(hint("7.0 * 2 > 1.0"), "write double(…) around the int");
    assert_eq!(hint("'n' + 1 == 'n1'"), "write string(…) around the int");
    assert_eq!(hint("input.a = 1"), "write `==`");
    assert_eq!(hint("not input.a"), "write `!`");
    let works = "workflow: a\nsteps:\n- {name: in, run: a/b, compensate: none}\n- {name: s, run: a/b, compensate: none, when: 'steps[\"in\"].output.x == 1'}";
    assert!(yaml(works).is_ok());
}

#[test]
fn message_does_not_name_the_parts_of_the_parser() {
    for text in [
        "input.a >",
        "input..a",
        ")",
        "input.a ? 1",
        "{1: }",
        "[1,",
        "a b",
        "#",
        "1 +* 2",
        "input.a.",
        "has()",
        "has(1)",
        "1x",
        "'a",
        "input.[0]",
        "",
        "x.map(1)",
        "..",
        "99999999999999999999",
        "`a`",
        "\u{7f}",
        "a.b(,)",
        "r'",
        "0x",
        "if",
        "input.a; input.b",
        "?",
        "a ?: b",
        "${a}",
        "9e999",
        "b'\\xzz'",
    ] {
        let text = format!("workflow: a\nsteps:\n- {{name: s, run: a/b, compensate: none, when: {text:?}}}");
        for problem in yaml(&text).err().into_iter().flatten() {
            for internal in
                ["viable", "extraneous", "mismatched", "<EOF>", "ERROR", "token", "antlr", "expecting"]
            {
                assert!(!problem.detail.contains(internal), "{problem:?}");
            }
        }
    }
}

#[test]
fn hint_suggests_the_most_similar_name() {
    let hint = |text: &str| yaml(text).unwrap_err()[0].hint.clone().unwrap_or_default();
    let step = |rest: &str| {
        format!(
            "workflow: a\nsteps:\n- {{name: pay, run: a/b, compensate: none}}\n- {{name: t, run: a/b, {rest}}}"
        )
    };
    assert_eq!(hint(&step("compensate: none, depend_on: [pay]")), "did you mean `depends_on`?");
    assert_eq!(hint(&step("compensate: none, depends_on: [pya]")), "did you mean `pay`?");
    assert_eq!(hint(&step("compensate: none, when: steps.pya.output.x")), "did you mean `steps.pay`?");
    assert!(hint(&step("compensate: none, when: steps.pay.id == 1")).contains("steps.pay.output.id"));
}

#[test]
fn problem_of_a_json_text_has_a_line_and_a_column() {
    let text = "{\n  \"workflow\": \"a\",\n  \"steps\": [\n    {\"name\": \"s\", \"run\": \"a/b\"}\n  ]\n}";
    let problems = goconductor_definition::parse(
        text.as_bytes(),
        goconductor_definition::Format::Json,
        &goconductor_definition::Limits::default(),
    )
    .unwrap_err();
    assert_eq!((problems[0].code, problems[0].line, problems[0].column), ("GC1011", 4, 5));
}
