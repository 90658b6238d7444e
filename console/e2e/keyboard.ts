// Works with a page by the keyboard alone: a control is reached by Tab or the arrow keys, never focused by script.
import type { Locator, Page } from "playwright-core";

/** More than the controls of any page. A control that is not reached by then cannot be reached. */
const MOST_STOPS = 150;

export class Keyboard {
  constructor(readonly page: Page) {}

  async press(...keys: string[]): Promise<void> {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  /** Moves the focus to a control. `key` is Tab, or an arrow key inside a menu, a tab list or a grid. */
  async to(target: Locator, key = "Tab"): Promise<void> {
    await target.waitFor();
    for (let stop = 0; stop < MOST_STOPS; stop += 1) {
      if (await target.evaluate((element) => element.matches(":focus"))) return;
      await this.page.keyboard.press(key);
    }
    throw new Error(`the keyboard does not reach ${target.toString()}`);
  }

  /** Presses a button, or opens a link or a row. */
  async activate(target: Locator): Promise<void> {
    await this.to(target);
    await this.page.keyboard.press("Enter");
  }

  /** Replaces the text of a field. */
  async fill(target: Locator, text: string): Promise<void> {
    await this.to(target);
    await this.page.keyboard.press("Control+a");
    await this.page.keyboard.insertText(text);
  }

  /** Opens a menu and chooses one of its items. */
  async choose(menu: Locator, item: string): Promise<void> {
    await this.activate(menu);
    const wanted = this.page.getByRole("menuitem", { name: item, exact: true });
    await this.to(wanted, "ArrowDown");
    await this.page.keyboard.press("Enter");
  }
}
