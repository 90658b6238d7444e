import { autocompletion, type CompletionContext } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, foldGutter, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import type { CodeEditorProps, CodeProblem } from "./CodeEditor";

const theme = EditorView.theme({
  "&": { backgroundColor: "var(--surface)", color: "var(--text)", fontSize: "var(--text-sm)", height: "100%" },
  ".cm-content": { fontFamily: "var(--mono)", caretColor: "var(--text)" },
  ".cm-scroller": { lineHeight: "1.6" },
  "&.cm-focused": { outline: "2px solid var(--focus)", outlineOffset: "-2px" },
  ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--muted)", border: "0" },
  ".cm-activeLine": { backgroundColor: "var(--hover)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { backgroundColor: "var(--selected) !important" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-tooltip, .cm-panels": { backgroundColor: "var(--raised)", color: "var(--text)", border: "1px solid var(--line)" },
  // The lint package draws its marks with data: images, which the Content-Security-Policy forbids.
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)", textUnderlineOffset: "3px" },
  ".cm-lintRange-warning": { backgroundImage: "none", textDecoration: "underline wavy var(--undo)", textUnderlineOffset: "3px" },
  ".cm-lint-marker-warning": { content: "none", borderRadius: "50%", backgroundColor: "var(--undo)", width: "0.6em", height: "0.6em", marginTop: "0.35em" },
  ".cm-lint-marker-error": { content: "none", borderRadius: "50%", backgroundColor: "var(--bad)", width: "0.6em", height: "0.6em", marginTop: "0.35em" },
});

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--forward)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--hold)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
  { tag: tags.invalid, color: "var(--bad)" },
]);

function diagnostics(state: EditorState, problems: readonly CodeProblem[]): Diagnostic[] {
  return problems.map((problem) => {
    const line = state.doc.line(Math.max(1, Math.min(state.doc.lines, problem.line)));
    const from = Math.min(line.to, line.from + Math.max(0, problem.column - 1));
    return { from, to: Math.max(from, line.to), severity: problem.severity ?? "error", message: problem.message };
  });
}

// CodeMirror writes its styles with constructed style sheets inside a shadow root. In the document it would insert a
// <style> element, which the Content-Security-Policy forbids.
export default function Editor(props: CodeEditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(undefined);
  const latest = useRef(props);
  // Texts that were reported and did not come back as `value` yet. Typing is faster than rendering: such a value is
  // older than the text of the editor, and does not replace it.
  const reported = useRef<string[]>([]);
  const options = useRef({ language: new Compartment(), readOnly: new Compartment() });
  useEffect(() => {
    latest.current = props;
  });
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
    const state = EditorState.create({ doc: latest.current.value, extensions: extensions(latest, options.current, reported) });
    const editor = new EditorView({ state, parent: root as unknown as HTMLElement, root });
    view.current = editor;
    return () => editor.destroy();
  }, []);
  useEffect(() => {
    const editor = view.current;
    const known = reported.current.lastIndexOf(props.value);
    if (known >= 0) reported.current.splice(0, known + 1);
    if (!editor || known >= 0 || editor.state.doc.toString() === props.value) return;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: props.value } });
    reported.current = [];
  }, [props.value]);
  useEffect(() => {
    const { language, readOnly } = options.current;
    view.current?.dispatch({
      effects: [language.reconfigure(languageOf(props.language)), readOnly.reconfigure(EditorState.readOnly.of(props.readOnly ?? false))],
    });
  }, [props.language, props.readOnly]);
  useEffect(() => {
    const editor = view.current;
    if (editor) editor.dispatch(setDiagnostics(editor.state, diagnostics(editor.state, props.problems ?? [])));
  }, [props.problems]);
  useEffect(() => {
    const editor = view.current;
    if (!editor || !props.goTo) return;
    const line = editor.state.doc.line(Math.max(1, Math.min(editor.state.doc.lines, props.goTo.line)));
    editor.dispatch({ selection: { anchor: Math.min(line.to, line.from + Math.max(0, props.goTo.column - 1)) }, scrollIntoView: true });
    editor.focus();
  }, [props.goTo]);
  return <div ref={host} className="code-editor" />;
}

function languageOf(language: CodeEditorProps["language"]): Extension {
  return language === "json" ? json() : yaml();
}

function extensions(latest: { current: CodeEditorProps }, options: { language: Compartment; readOnly: Compartment }, reported: { current: string[] }): Extension[] {
  const complete = (context: CompletionContext) => {
    const word = context.matchBefore(/[\w/.-]*/);
    const provider = latest.current.complete;
    if (!provider || !word || (word.from === word.to && !context.explicit)) return null;
    // A word that is complete is not offered: Enter begins the next line.
    const options = provider(context.state.doc.toString(), context.pos, word.text).filter((option) => option.label !== word.text || option.apply !== undefined);
    return options.length > 0 ? { from: word.from, options } : null;
  };
  return [
    lineNumbers(), foldGutter(), history(), indentOnInput(), bracketMatching(), highlightActiveLine(), lintGutter(),
    highlightSelectionMatches(), syntaxHighlighting(colours), theme, EditorView.lineWrapping,
    autocompletion({ override: [complete] }),
    // Tab is left to the browser: it moves the focus out of the editor.
    keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, ...lintKeymap]),
    options.language.of(languageOf(latest.current.language)),
    options.readOnly.of(EditorState.readOnly.of(latest.current.readOnly ?? false)),
    // The tabindex tells tools that the editable text is reached by the keyboard, from which its scroll area is scrolled.
    EditorView.contentAttributes.of({ "aria-label": latest.current.label, tabindex: "0" }),
    EditorView.updateListener.of((update) => {
      if (!update.docChanged) return;
      const text = update.state.doc.toString();
      reported.current.push(text);
      latest.current.onChange?.(text);
    }),
  ];
}
