/** What routing and intentions may look at; implemented by the data path over the parsed head. */
export interface RequestView {
  /** A TCP connection: it has neither method nor path that a rule could ask for. */
  readonly isTcp?: boolean;
  readonly method: string;
  /** Lower case, no port. */
  readonly host: string;
  /** Canonical, no query; `*` for `OPTIONS *`. */
  readonly path: string;
  /** Without the `?`; '' when there is none. */
  readonly query: string;
  /** Takes a lower-case name; only called when a rule needs it. */
  header(name: string): string | undefined;
}
