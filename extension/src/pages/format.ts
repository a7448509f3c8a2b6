/** Numbers, sizes, amounts and times, as people of one language write them. */

/** Base units of one token: 6 decimals. */
export const TOKEN_UNITS = 1_000_000;

const TOKEN_DECIMALS = 6;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const BYTE_UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;

/** Something that is put into words where it is shown. `text` is foreign text and is isolated. */
export type Fact =
  | { readonly count: number }
  | { readonly bytes: number }
  | { readonly tokens: number }
  | { readonly moment_ms: number }
  | { readonly ago_ms: number }
  | { readonly text: string };

/** One language's way to write. `time_zone` is the browser's own unless given. */
export class Formats {
  readonly locale: string;
  readonly #time_zone: string | undefined;

  constructor(locale: string, time_zone?: string) {
    this.locale = locale;
    this.#time_zone = time_zone;
  }

  /** A whole number. */
  number(value: number): string {
    return new Intl.NumberFormat(this.locale, { maximumFractionDigits: 0 }).format(value);
  }

  /** A share, 0 to 1, as a whole per cent; rounded down, so that 100 % means all of it. */
  percent(share: number): string {
    const whole = Math.floor(share * 100) / 100;
    return new Intl.NumberFormat(this.locale, { style: "percent", maximumFractionDigits: 0 }).format(whole);
  }

  /** A size in decimal units (1 MB = 1,000,000 bytes), three digits or so. */
  bytes(value: number): string {
    let place = 0;
    while (place < BYTE_UNITS.length - 1 && roundedForUnit(value, place) >= 1000) place += 1;
    const amount = value / 1000 ** place;
    return new Intl.NumberFormat(this.locale, {
      style: "unit",
      unit: BYTE_UNITS[place] ?? "byte",
      unitDisplay: place === 0 ? "long" : "short",
      maximumFractionDigits: place === 0 || amount >= 100 ? 0 : 1,
    }).format(amount);
  }

  /** An amount of tokens from base units: exact, with at least two decimals. No unit is named. */
  tokens(base_units: number): string {
    return new Intl.NumberFormat(this.locale, {
      minimumFractionDigits: 2,
      maximumFractionDigits: TOKEN_DECIMALS,
    }).format(decimalOf(base_units));
  }

  /** An amount of tokens in at most five digits and four decimals, for narrow places; never more than it is. */
  tokensBriefly(base_units: number): string {
    return new Intl.NumberFormat(this.locale, {
      maximumSignificantDigits: 5,
      maximumFractionDigits: 4,
      roundingPriority: "lessPrecision",
      roundingMode: "trunc",
    }).format(decimalOf(base_units));
  }

  /** A time of day. */
  time(moment_ms: number): string {
    return this.#date(moment_ms, { hour: "numeric", minute: "2-digit" });
  }

  /** Date and time, to the minute. */
  dateTime(moment_ms: number): string {
    return this.#date(moment_ms, { dateStyle: "medium", timeStyle: "short" });
  }

  /** A date. */
  date(moment_ms: number): string {
    return this.#date(moment_ms, { dateStyle: "medium" });
  }

  /** A moment as briefly as is unambiguous at `now`: the time today, weekday and time within six days, else the date. */
  moment(moment_ms: number, now: Date): string {
    const day = (ms: number): string => this.#date(ms, { dateStyle: "short" });
    if (day(moment_ms) === day(now.getTime())) return this.time(moment_ms);
    if (Math.abs(moment_ms - now.getTime()) < 6 * DAY_MS) {
      return this.#date(moment_ms, { weekday: "long", hour: "numeric", minute: "2-digit" });
    }
    return this.dateTime(moment_ms);
  }

  /** How long ago, or in how long: "3 minutes ago", "in 12 seconds"; `short`: "3 min. ago". */
  relative(moment_ms: number, now: Date, style: "long" | "short" = "long"): string {
    const apart = moment_ms - now.getTime();
    const size = Math.abs(apart);
    const write = new Intl.RelativeTimeFormat(this.locale, { numeric: "auto", style });
    if (size < MINUTE_MS) return write.format(Math.trunc(apart / 1000), "second");
    if (size < HOUR_MS) return write.format(Math.trunc(apart / MINUTE_MS), "minute");
    if (size < DAY_MS) return write.format(Math.trunc(apart / HOUR_MS), "hour");
    return write.format(Math.trunc(apart / DAY_MS), "day");
  }

  /** Any fact. */
  fact(fact: Fact, now: Date): string {
    if ("count" in fact) return this.number(fact.count);
    if ("bytes" in fact) return this.bytes(fact.bytes);
    if ("tokens" in fact) return this.tokens(fact.tokens);
    if ("moment_ms" in fact) return this.moment(fact.moment_ms, now);
    if ("ago_ms" in fact) return this.relative(fact.ago_ms, now);
    return isolate(fact.text);
  }

  #date(moment_ms: number, options: Intl.DateTimeFormatOptions): string {
    const zone = this.#time_zone === undefined ? {} : { timeZone: this.#time_zone };
    return new Intl.DateTimeFormat(this.locale, { ...options, ...zone }).format(moment_ms);
  }
}

/**
 * Foreign text for use within words: its direction stays its own (Unicode TR9, section 2.4), control characters and
 * characters that turn direction become spaces, and at most 300 characters are shown.
 */
export function isolate(text: string): string {
  const plain = text.replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu, " ").trim();
  const characters = [...plain];
  return `\u2068${characters.length > 300 ? `${characters.slice(0, 299).join("")}…` : plain}\u2069`;
}

/** Base units as the decimal they stand for, exactly. */
function decimalOf(base_units: number): `${number}` {
  const part = String(base_units % TOKEN_UNITS).padStart(TOKEN_DECIMALS, "0");
  return `${Math.floor(base_units / TOKEN_UNITS)}.${part}` as `${number}`;
}

/** What a value would show as in a unit; what rounds up to 1,000 belongs into the next one. */
function roundedForUnit(value: number, place: number): number {
  const amount = value / 1000 ** place;
  return place === 0 || amount >= 100 ? Math.round(amount) : Math.round(amount * 10) / 10;
}
