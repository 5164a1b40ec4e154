import Foundation

/// JSON with the doubles that JSONDecoder reads: JSONSerialization's may differ in the last digit.
public enum JSONValue: Decodable {
  case number(Double)
  case text(String)
  case list([JSONValue])
  case object([String: JSONValue])

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let object = try? container.decode([String: JSONValue].self) {
      self = .object(object)
    } else if let list = try? container.decode([JSONValue].self) {
      self = .list(list)
    } else if let text = try? container.decode(String.self) {
      self = .text(text)
    } else if let number = try? container.decode(Double.self) {
      self = .number(number)
    } else {
      self = .number(try container.decode(Bool.self) ? 1 : 0)
    }
  }

  /// The value at a path such as `analysis[0].scores.iou.mean`, or nil.
  subscript(path path: some StringProtocol) -> JSONValue? {
    path.split(whereSeparator: { ".[".contains($0) }).reduce(self as JSONValue?) { value, part in
      switch value {
      case .list(let list):
        guard part.hasSuffix("]"), let index = Int(part.dropLast()) else { return nil }
        return list.indices.contains(index) ? list[index] : nil
      case .object(let object): return object[String(part)]
      default: return nil
      }
    }
  }
}

/// The numbers of a report's page beside those of its record.
/// - Parameter json: results.json.
/// - Returns: how many the page has, and those that the record has not.
public func pageNumbers(_ html: String, json: Data) throws -> (count: Int, strangers: [String]) {
  let record = try JSONDecoder().decode(JSONValue.self, from: json)
  let found = html.matches(of: /data-path="([^"]*)" data-value="([^"]*)"/)
  let strangers = found.filter { match in
    switch record[path: match.1] {
    case .number(let number): number != Double(match.2)
    case .text(let text): text != match.2
    default: true
    }
  }
  return (found.count, strangers.map { "\($0.1): \($0.2)" })
}
