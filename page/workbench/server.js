// Questions to the server, and what a person is told where there is no answer.

// Minutes that an answer, and an upload, is waited for: more than the server itself takes at most (cells/read/limits.py).
const MOST = 15, MINUTES = { differential: 1, discard: 1, open_archive: 3, saliency: 3, export: 5 };

// Failures that pass: a full server, a lost upload, no server; and milliseconds before a question is asked again.
export const AGAIN = ['busy', 'busy_fetching', 'gone', 'not_uploaded', 'hub_not_cached', 'server_gone'];
export const RETRY = [500, 1500, 4000, 8000];

// A sentence for the person, with the code of the failure that it is about.
export class Said extends Error {
  constructor(words, code) {
    super(words);
    this.code = code;
  }
}

// What is answered, or a refusal in words where nothing is in time. What comes later is dropped.
function inTime(answer, minutes, words) {
  return new Promise((resolve, reject) => {
    answer.then(resolve, reject);
    AbortSignal.timeout(60_000 * minutes).addEventListener('abort', () => reject(new Said(words, 'no_answer')));
  });
}

export class Server {
  // `functions` and `upload` are Gradio's; `say` shows a sentence.
  constructor(functions, upload, { language, texts }, say) {
    Object.assign(this, { functions, language, texts, say, upload: file => inTime(upload(file), MOST, texts.errors.no_answer) });
  }

  // The answer as it comes.
  call(name, values) {
    return inTime(this.functions[name]({ language: this.language, ...values }), MINUTES[name] ?? MOST, this.texts.errors.no_answer);
  }

  // The server's answer. Raises Said.
  async answered(name, values) {
    const answer = await this.call(name, values).catch(error => (error instanceof Said ? { error: { code: error.code, text: error.message } } : null));
    const { code, text } = answer ? answer.error ?? {} : { code: 'server_gone', text: this.texts.errors.server_gone };
    if (text) throw new Said(text, code);
    return answer;
  }

  // What `ask` gives. It is called again where the failure may pass, as long as the answer is wanted.
  async again(ask, isWanted) {
    for (const wait of RETRY) {
      try {
        return await ask();
      } catch (error) {
        if (!AGAIN.includes(error.code)) throw error;
        await new Promise(resolve => setTimeout(resolve, wait));
        if (!isWanted()) throw error;
      }
    }
    return ask();
  }

  // The server's answer, or null once the person was told why there is none.
  async ask(name, values) {
    let answer = null;
    await this.told(async () => { answer = await this.answered(name, values); });
    return answer;
  }

  // What an action says where it fails.
  async told(action) {
    await action().catch(error => this.say(this.reason(error)));
  }

  // Why something failed, in words.
  reason(error) {
    return error instanceof Said ? error.message : this.texts.errors.server_gone;
  }
}
