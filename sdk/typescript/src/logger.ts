/** The fields of a line of a log. */
export type LogFields = Readonly<Record<string, unknown>>;

/** A logger. `console` and the loggers of winston have this form. */
export interface Logger {
  debug(message: string, fields: LogFields): void;
  info(message: string, fields: LogFields): void;
  warn(message: string, fields: LogFields): void;
  error(message: string, fields: LogFields): void;
}

function write(level: string, message: string, fields: LogFields): void {
  const details = Object.entries(fields).map(([name, value]) => `${name}=${format(value)}`);
  process.stderr.write(`${[new Date().toISOString(), level, message, ...details].join(" ")}\n`);
}

function format(value: unknown): string {
  return typeof value === "number" ? String(value) : JSON.stringify(String(value));
}

/** The default logger. It writes lines to standard error and drops those of the level debug. */
export const stderrLogger: Logger = {
  debug: () => undefined,
  info: (message, fields) => { write("INFO", message, fields); },
  warn: (message, fields) => { write("WARN", message, fields); },
  error: (message, fields) => { write("ERROR", message, fields); },
};

/** Returns a logger that adds fields to each line. */
export function withFields(logger: Logger, fields: LogFields): Logger {
  return {
    debug: (message, more) => { logger.debug(message, { ...fields, ...more }); },
    info: (message, more) => { logger.info(message, { ...fields, ...more }); },
    warn: (message, more) => { logger.warn(message, { ...fields, ...more }); },
    error: (message, more) => { logger.error(message, { ...fields, ...more }); },
  };
}
