/** The two things an owner chooses before saying yes: how much data, and which wallet. */
import type { WalletChoice } from "../../node/owner_state.ts";
import { isWallet } from "../../protocol/base58.ts";
import { byId, setText } from "../dom.ts";
import { formats, t } from "../text.ts";
import {
  LEAST_MEGABYTES,
  MEGABYTE,
  MOST_MEGABYTES,
  nearestStep,
  readMegabytes,
  STEPS,
  videoMinutes,
} from "./data_steps.ts";

/** What was chosen: bytes a day, and the address of a wallet or `own` for one that is made here. */
export interface Choice {
  readonly daily_bytes: number;
  readonly address: string;
}

const DAYS_A_MONTH = 31;
/** Fewer characters than this are an address still being typed: nothing is said against it before the click. */
const SHORTEST_ADDRESS = 32;

/** The daily limit of data: a slider for round numbers, a field for any, and what it means. */
export class DataChoice {
  readonly #slider = byId("cap-slider", HTMLInputElement);
  readonly #exact = byId("cap-exact", HTMLInputElement);
  readonly #meaning = byId("cap-meaning", HTMLElement);
  readonly #fault = byId("cap-fault", HTMLElement);

  constructor() {
    this.#slider.max = String(STEPS.length - 1);
    this.#slider.addEventListener("input", () => this.#set(STEPS[Number(this.#slider.value)] ?? LEAST_MEGABYTES));
    this.#exact.addEventListener("input", () => {
      const megabytes = readMegabytes(this.#exact.value);
      if (megabytes === null) return;
      this.#judge(true);
      this.#tell(megabytes);
    });
  }

  /** Show a limit in bytes; none is shown as the largest of the slider. */
  show(daily_bytes: number | null): void {
    const megabytes = daily_bytes === null ? STEPS.at(-1) : Math.ceil(daily_bytes / MEGABYTE);
    this.#set(Math.min(Math.max(megabytes ?? LEAST_MEGABYTES, LEAST_MEGABYTES), MOST_MEGABYTES));
  }

  /** The limit in bytes; null where the field holds none, which is then said. */
  read(): number | null {
    const megabytes = readMegabytes(this.#exact.value);
    this.#judge(megabytes !== null);
    if (megabytes === null) {
      const bounds = [formats.number(LEAST_MEGABYTES), formats.number(MOST_MEGABYTES)];
      setText(this.#fault, t("consent_data_invalid", ...bounds));
      this.#exact.focus();
      return null;
    }
    this.#tell(megabytes);
    return megabytes * MEGABYTE;
  }

  #set(megabytes: number): void {
    this.#exact.value = String(megabytes);
    this.#judge(true);
    this.#tell(megabytes);
  }

  #judge(good: boolean): void {
    this.#exact.setAttribute("aria-invalid", String(!good));
    this.#fault.hidden = good;
  }

  #tell(megabytes: number): void {
    const cap = formats.bytes(megabytes * MEGABYTE);
    const minutes = formats.number(videoMinutes(megabytes));
    const month = formats.bytes(megabytes * MEGABYTE * DAYS_A_MONTH);
    this.#slider.value = String(nearestStep(megabytes));
    this.#slider.setAttribute("aria-valuetext", cap);
    setText(this.#meaning, t("consent_data_meaning", cap, minutes, month));
  }
}

/** Which wallet: one made here, or one whose address is given. */
export class WalletQuestion {
  readonly #own = byId("wallet-own", HTMLInputElement);
  readonly #given = byId("wallet-given", HTMLInputElement);
  readonly #field = byId("address-field", HTMLElement);
  readonly #address = byId("address", HTMLInputElement);
  readonly #fault = byId("address-fault", HTMLElement);

  constructor() {
    for (const radio of [this.#own, this.#given]) {
      radio.addEventListener("change", () => {
        this.#field.hidden = this.#own.checked;
      });
    }
    this.#address.addEventListener("input", () => {
      const address = this.#address.value.trim();
      if (isWallet(address) || address.length >= SHORTEST_ADDRESS) this.#judge(isWallet(address));
    });
  }

  /** Show what was chosen before. */
  show(wallet: WalletChoice | null): void {
    const given = wallet !== null && !wallet.own;
    this.#given.checked = given;
    this.#own.checked = !given;
    this.#field.hidden = !given;
    if (given) this.#address.value = wallet.address;
  }

  /** The address, or `own`; null where the text is no address, which is then said. */
  read(): string | null {
    if (this.#own.checked) return "own";
    const address = this.#address.value.trim();
    const good = isWallet(address);
    this.#judge(good);
    if (!good) this.#address.focus();
    return good ? address : null;
  }

  #judge(good: boolean): void {
    this.#address.setAttribute("aria-invalid", String(!good));
    this.#fault.hidden = good;
    if (!good) setText(this.#fault, t("consent_wallet_invalid"));
  }
}
