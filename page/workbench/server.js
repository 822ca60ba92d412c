// Questions to the server, and what a person is told where there is no answer.

// A sentence for the person.
export class Said extends Error {}

export class Server {
  // `functions` and `upload` are Gradio's; `say` shows a sentence.
  constructor(functions, upload, { language, texts }, say) {
    Object.assign(this, { functions, upload, language, texts, say });
  }

  // The answer as it comes.
  call(name, values) {
    return this.functions[name]({ language: this.language, ...values });
  }

  // The server's answer. Raises Said.
  async answered(name, values) {
    const answer = await this.call(name, values).catch(() => null);
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
