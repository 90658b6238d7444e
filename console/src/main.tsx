import { createRoot } from "react-dom/client";
import { App } from "./App";
import { startTheme } from "./ui/theme";
import "./ui/tokens.css";
import "./ui/base.css";
import "./ui/parts.css";
import "./ui/shell.css";

startTheme();
const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
