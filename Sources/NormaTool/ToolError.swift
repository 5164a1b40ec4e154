/// Something the user has to change: what was expected, what came, what to do.
struct ToolError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
