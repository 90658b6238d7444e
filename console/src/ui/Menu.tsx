import { Icon, type IconName } from "./Icon";
import { Popover, type TriggerLook } from "./Popover";

export interface MenuItem {
  text: string;
  icon?: IconName;
  onSelect: () => void;
  danger?: boolean;
  /** For a choice: whether the item is the current one. */
  checked?: boolean;
  /** Why the item cannot be chosen now. */
  disabled?: string | undefined;
}

/** A menu of commands. */
export function Menu({ trigger, label, items }: { trigger: TriggerLook; label: string; items: readonly MenuItem[] }) {
  return (
    <Popover trigger={trigger} role="menu" label={label}>
      {(close) => items.map((item) => (
        <button
          key={item.text}
          type="button"
          role={item.checked === undefined ? "menuitem" : "menuitemradio"}
          aria-checked={item.checked}
          aria-disabled={item.disabled ? true : undefined}
          title={item.disabled}
          tabIndex={-1}
          className={`menu-item${item.danger ? " danger" : ""}`}
          onClick={() => {
            if (item.disabled) return;
            close();
            item.onSelect();
          }}
        >
          {item.icon && <Icon name={item.icon} />}
          {item.checked !== undefined && !item.icon && <Icon name={item.checked ? "check" : "dot"} />}
          {item.text}
        </button>
      ))}
    </Popover>
  );
}
