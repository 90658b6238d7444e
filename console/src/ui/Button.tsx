import type { ButtonHTMLAttributes, ReactNode, Ref } from "react";
import { Icon, type IconName } from "./Icon";

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  tone?: "primary" | "danger" | "danger-solid" | "plain";
  small?: boolean;
  icon?: IconName;
  /** The accessible name of a button that shows only its icon. */
  label?: string;
  children?: ReactNode;
  ref?: Ref<HTMLButtonElement>;
}

export function Button({ tone, small, icon, label, children, className, type = "button", ...rest }: Props) {
  const classes = ["button"];
  if (tone) classes.push(...tone.split("-"));
  if (small) classes.push("small");
  if (icon && children === undefined) classes.push("icon-only");
  if (className) classes.push(className);
  return (
    <button type={type} className={classes.join(" ")} aria-label={label} title={label} {...rest}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}
