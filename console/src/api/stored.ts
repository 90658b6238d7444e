// Values that this browser keeps.

/** A stored JSON value. `null` if it is absent or damaged. */
export function stored(key: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** The texts in a stored list. Undefined if no list is stored. */
export function storedTexts(key: string): string[] | undefined {
  const value = stored(key);
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === "string") : undefined;
}
