/* Place an order and read it back, with types that build.py has generated: a command, then a query.

    node place_order.js http://127.0.0.1:8000 ann@example.org 'her password'
*/

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Problem = components["schemas"]["Problem"];

function required<Data>(answer: { data?: Data; error?: Problem }): Data {
  if (answer.data === undefined) throw new Error(`refused: ${answer.error?.detail}`);
  return answer.data;
}

async function main(baseUrl: string, username: string, password: string): Promise<void> {
  const client = createClient<paths>({ baseUrl });
  const login = required(await client.POST("/api/auth/login/", { body: { username, password } }));
  const headers = { Authorization: `Bearer ${login.token}` };
  const lines = [{ sku: "BOOK-1", quantity: 2, unit_price: "19.90" }];
  const placed = required(await client.POST("/api/orders/", { headers, body: { currency: "EUR", lines } }));
  // The rows may be later than the command. With its position, the query waits for it.
  const header = { "Min-Event-Position": String(placed.position) };
  const order = required(
    await client.GET("/api/orders/{id}/", { headers, params: { path: { id: placed.id }, header } }),
  );
  console.log(order.id, order.status, order.total, order.currency);
}

const [baseUrl, username, password] = process.argv.slice(2);
if (!baseUrl || !username || !password) throw new Error("node place_order.js URL USERNAME PASSWORD");
await main(baseUrl, username, password);
