// Writes the ids of cases.json anew, from the Hugging Face tokenizers library itself (Rust, as node module):
//   npm install --prefix /tmp/reference tokenizers@0.23.2
//   NODE_PATH=/tmp/reference/node_modules node tokenizer/testdata/reference.cjs
const fs = require('fs'), path = require('path');
const { Tokenizer } = require('tokenizers');
const file = name => path.join(__dirname, name);
(async () => {
  const cases = JSON.parse(fs.readFileSync(file('cases.json')));
  for (const c of cases) {
    const doc = JSON.parse(fs.readFileSync(file(c.file)));
    const { model, ...rest } = c.patch;
    Object.assign(doc, rest);
    Object.assign(doc.model, model);
    const tokenizer = Tokenizer.fromString(JSON.stringify(doc));
    for (const text of Object.keys(c.ids)) {
      c.ids[text] = (await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds();
    }
  }
  fs.writeFileSync(file('cases.json'), '[\n' + cases.map(c => JSON.stringify(c)).join(',\n') + '\n]\n');
})();
