/** The page nobody sees (Chrome only): tells the worker whether the computer is on mains. Open only while that matters. */
import { reportMains } from "../../adapters/browser.ts";

/** The Battery Status API (W3C), which only Chrome offers, and only to pages. */
interface BatteryNavigator {
  getBattery(): Promise<EventTarget & { readonly charging: boolean }>;
}

reportMains(await (navigator as Navigator & BatteryNavigator).getBattery());
