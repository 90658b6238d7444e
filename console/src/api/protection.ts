// Namespaces in which a destructive change must be confirmed by typing the name: those that begin with `prod`, and those
// that a person has marked in this browser.
import { storedTexts } from "./stored";
const KEY = "goconductor.protected";
const ALWAYS = /^prod/i;

export function isAlwaysProtected(namespace: string): boolean {
  return ALWAYS.test(namespace);
}

export function isProtected(namespace: string): boolean {
  return isAlwaysProtected(namespace) || marked().includes(namespace);
}

export function setProtected(namespace: string, on: boolean): void {
  const others = marked().filter((name) => name !== namespace);
  localStorage.setItem(KEY, JSON.stringify(on ? [...others, namespace] : others));
}

const marked = (): string[] => storedTexts(KEY) ?? [];
