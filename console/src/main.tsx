import { createRoot } from "react-dom/client";
import { ROOT } from "./api/session";
import { App } from "./App";
import { startTheme } from "./ui/theme";
import "./ui/tokens.css";
import "./ui/base.css";
import "./ui/parts.css";
import "./ui/shell.css";

startTheme();
// The gateway serves the console at / too.
if (window.location.pathname === "/") window.history.replaceState(null, "", `${ROOT}/`);
const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
