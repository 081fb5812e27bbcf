// Checks documents against the rules of their kind, and writes what is wrong: node specs.mjs openapi.yaml asyncapi.yaml
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Validator } from '@seriousme/openapi-schema-validator'
import Ajv from 'ajv'
import { parse } from 'yaml'

const rules = createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0.json')
const [openapi, asyncapi] = process.argv.slice(2).map((path) => parse(readFileSync(path, 'utf8')))

const { valid, errors } = await new Validator().validate(openapi)
const ajv = new Ajv.default({ strict: false, validateFormats: false, allErrors: true, meta: false, validateSchema: false })
const fits = ajv.compile(rules)
const wrong = [
  ...(valid ? [] : [errors].flat().map((e) => ['openapi', e.instancePath, e.message ?? e])),
  ...(fits(asyncapi) ? [] : fits.errors.map((e) => ['asyncapi', e.instancePath, e.message])),
]
for (const line of wrong) console.log(...line)
process.exit(wrong.length ? 1 : 0)
