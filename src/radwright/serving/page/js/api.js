/**
 * The server, as functions: JSON in and out, its errors as ApiError, one retry where that is safe.
 */

/** Dispatches `lost` and `signedout`. */
export const room = new EventTarget();

/** What the server refused. `retryAfter` in seconds, 0 where it named none. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, message?: string, field?: string | null}} error
   * @param {number} retryAfter
   * @param {any} body
   */
  constructor(status, error, retryAfter, body) {
    super(error.message || `The server answered ${status}.`);
    this.status = status;
    this.code = error.code || "";
    this.field = error.field || null;
    this.retryAfter = retryAfter;
    this.body = body;
  }
}

/** The server could not be reached at all. */
export class ConnectionLost extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/**
 * One request. A 429 or 503 is asked again once, after the time that the server names, where that cannot do anything
 * twice: for GET, and for what the caller calls `again` (a full queue has taken nothing).
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal, again?: boolean, onWait?: (s: number) => void,
 *   keepalive?: boolean, headers?: Record<string, string>}} [options]
 * @returns {Promise<Response>}
 */
export async function ask(path, options = {}) {
  const { method = "GET", body, signal, again = method === "GET", onWait, keepalive = false, headers = {} } = options;
  const form = body instanceof FormData;
  const send = async () => {
    try {
      return await fetch(path, {
        method,
        signal,
        keepalive,
        credentials: "same-origin",
        headers: body === undefined || form ? headers : { "Content-Type": "application/json", ...headers },
        body: body === undefined ? undefined : form ? body : JSON.stringify(body),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      room.dispatchEvent(new Event("lost"));
      throw new ConnectionLost();
    }
  };
  let response = await send();
  if (again && (response.status === 429 || response.status === 503)) {
    const wait = retryAfterOf(response);
    if (wait > 0 && wait <= 120) {
      onWait?.(wait);
      await sleep(wait);
      if (!signal?.aborted) response = await send();
    }
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) room.dispatchEvent(new Event("signedout"));
  throw new ApiError(response.status, answer.error ?? {}, retryAfterOf(response), answer);
}

/**
 * The JSON that a request brings.
 * @param {string} path
 * @param {Parameters<typeof ask>[1]} [options]
 * @returns {Promise<any>}
 */
export async function json(path, options) {
  const response = await ask(path, options);
  return response.status === 204 ? {} : response.json();
}

/**
 * Retry-After in seconds, given as a number or as a date.
 * @param {Response} response
 */
export function retryAfterOf(response) {
  const text = response.headers.get("Retry-After");
  if (text === null) return 0;
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(text);
  return Number.isNaN(date) ? 0 : Math.max(0, Math.ceil((date - Date.now()) / 1000));
}

/**
 * Follows a study's draft as it is written.
 * @param {string} id
 * @param {{state?: (s: any) => void, text?: (s: any) => void, draft?: (s: any) => void, failed?: (s: any) => void,
 *   error?: (ended: boolean) => void}} on `error` is told whether the browser has given up.
 * @returns {() => void} stops following
 */
export function follow(id, on) {
  const source = new EventSource(`/v1/studies/${encodeURIComponent(id)}/events`);
  for (const name of ["state", "text", "draft", "failed"]) {
    source.addEventListener(name, (event) => {
      if (name === "draft" || name === "failed") source.close();
      on[name]?.(JSON.parse(/** @type {MessageEvent} */ (event).data));
    });
  }
  source.addEventListener("error", () => on.error?.(source.readyState === EventSource.CLOSED));
  return () => source.close();
}

/**
 * Path of a study, or of something of it.
 * @param {string} id
 * @param {...(string | number)} rest
 */
export function studyPath(id, ...rest) {
  return ["/v1/studies", encodeURIComponent(id), ...rest.map((part) => encodeURIComponent(String(part)))].join("/");
}
