import ArgumentParser
import NormaFormats
import NormaRecords
import NormaReport

struct WeightsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weights",
    abstract: "List what a safetensors file holds: metadata, tensors with types and shapes, totals.")

  @Argument(help: "The safetensors file.", completion: .file())
  var file: String

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func run() throws {
    let record = WeightsRecord(try SafetensorsReader(file))
    if json {
      print(try jsonText(of: record))
      return
    }
    // A checkpoint's are long.
    for (key, value) in record.metadata.sorted(by: { $0.key < $1.key }) {
      print("\(printable(key)): \(printable(value.count > 200 ? value.prefix(200) + "…" : value))")
    }
    if !record.metadata.isEmpty { print("") }
    print(
      textTable(
        header: ["tensor", "type", "shape", "values"],
        rows: record.tensors.map { [printable($0.name), $0.type, "\($0.shape)", grouped($0.values)] }))
    print(
      """

      Tensors: \(grouped(record.tensors.count))
      Values: \(grouped(record.values))
      Bytes: \(grouped(record.bytes))
      """)
  }
}

/// What `norma weights --json` prints.
struct WeightsRecord: Encodable {
  struct Tensor: Encodable {
    let name: String
    /// As the format names it, such as F32.
    let type: String
    let shape: [Int]
    let values: Int
  }

  let schemaVersion = 1
  let path: String
  let metadata: [String: String]
  /// In the order of the file.
  let tensors: [Tensor]
  /// Of all tensors.
  let values: Int
  /// Of all tensors, without the header.
  let bytes: Int

  init(_ file: SafetensorsReader) {
    path = file.path
    metadata = file.metadata
    tensors = file.entries.map {
      Tensor(name: $0.name, type: $0.type.rawValue, shape: $0.shape, values: $0.shape.reduce(1, *))
    }
    values = tensors.reduce(0) { $0 + $1.values }
    bytes = zip(tensors, file.entries).reduce(0) { $0 + $1.0.values * $1.1.type.size }
  }
}
