// Questions to the server, and what a person is told where there is no answer.

// Minutes that an answer, and an upload, is waited for: more than the server itself takes at most (cells/read/limits.py).
const MOST = 15, MINUTES = { differential: 1, discard: 1, open_archive: 3, saliency: 3, export: 5 };

// A sentence for the person.
export class Said extends Error {}

// What is answered, or a refusal in words where nothing is in time. What comes later is dropped.
function inTime(answer, minutes, words) {
  return new Promise((resolve, reject) => {
    answer.then(resolve, reject);
    AbortSignal.timeout(60_000 * minutes).addEventListener('abort', () => reject(new Said(words)));
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
    const answer = await this.call(name, values).catch(error => (error instanceof Said ? { error: { text: error.message } } : null));
    if (!answer || answer.error) throw new Said(answer?.error.text ?? this.texts.errors.server_gone);
    return answer;
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
