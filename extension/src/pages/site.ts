/** What people mean by a site. Pure. */

/** The domain that "never this site" blocks: the host without a leading `www.`, for both names are one site. */
export function siteOf(host: string): string {
  const bare = host.replace(/^www\./, "");
  return bare.includes(".") ? bare : host;
}
