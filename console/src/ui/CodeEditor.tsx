import { lazy, Suspense } from "react";
import { Loading } from "./States";

/** A problem at a line (from 1) and a column (from 1). */
export interface CodeProblem {
  line: number;
  column: number;
  message: string;
  /** Default: `error`. */
  severity?: "warning";
}

export interface Completion {
  label: string;
  detail?: string;
  info?: string;
  /** The text to insert. Default: the label. */
  apply?: string;
}

export interface CodeEditorProps {
  value: string;
  onChange?: (value: string) => void;
  language: "yaml" | "json";
  label: string;
  readOnly?: boolean;
  problems?: readonly CodeProblem[];
  /** Completions at `position`, an offset in `text`. `word` begins at `from`. */
  complete?: (text: string, position: number, word: string) => readonly Completion[];
  /** Moves the cursor to a place, from 1, and focuses the editor. Another object moves it again. */
  goTo?: { line: number; column: number };
}

const Editor = lazy(() => import("./code-editor"));

/** A text editor for YAML and JSON. Its code is loaded when it is first shown. */
export function CodeEditor(props: CodeEditorProps) {
  return (
    <Suspense fallback={<Loading lines={6} />}>
      <Editor {...props} />
    </Suspense>
  );
}
