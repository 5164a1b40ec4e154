#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// An open safetensors file whose tensors are read one at a time.
///
/// The whole header is checked when the file is opened: its length, the element types, and that the tensors' data lie one after
/// the other without gaps or overlaps up to the end of the file, as the format's description demands. So a file whose header
/// was accepted holds what it promises, and nothing is allocated that the file does not hold.
public final class SafetensorsReader {
  /// Where a tensor is in the file.
  public struct Entry: Sendable, Equatable {
    public let name: String
    public let type: Safetensors.ElementType
    public let shape: [Int]
    /// In bytes, from the end of the header.
    fileprivate let range: Range<Int>
  }

  /// The most bytes that a header may have; as in the format's own library.
  public static let largestHeader = 100_000_000

  /// The file as it was named.
  public let path: String
  /// Free text by key.
  public let metadata: [String: String]
  /// In the order of their data.
  public let entries: [Entry]

  private let file: InputFile
  private let dataStart: Int
  private let places: [String: Int]

  /// Opens a file and checks its header.
  /// - Throws: ``FormatError`` where it cannot be read or breaks a rule of the format.
  public init(_ path: String) throws {
    let file = try InputFile(path)
    guard file.length >= 8 else {
      throw FormatError.reading(
        path, "a safetensors file begins with 8 bytes that tell its header's length, this one has \(file.length) bytes")
    }
    let start = try file.bytes(at: 0, count: 4)
    guard start != [0x50, 0x4B, 0x03, 0x04], start.prefix(2) != [0x80, 0x02] else {
      throw FormatError.reading(path, "it is a file of torch.save; write it by safetensors.torch.save_file instead")
    }
    let given = try file.bytes(at: 0, count: 8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard given <= UInt64(Self.largestHeader), Int(given) <= file.length - 8 else {
      throw FormatError.reading(
        path,
        "its header should have \(given) bytes, but at most \(min(Self.largestHeader, file.length - 8)) are possible; "
          + "the file is no safetensors file or incomplete")
    }
    let length = Int(given)
    let header: Header
    do {
      let text = try file.bytes(at: 8, count: length)
      guard text.first == UInt8(ascii: "{") else {
        throw FormatError.reading(path, "its header should begin with '{'; the file is no safetensors file")
      }
      header = try JSONDecoder().decode(Header.self, from: Data(text))
    } catch let error as FormatError {
      throw error
    } catch {
      throw FormatError.reading(
        path, "its header is damaged: \(Self.reason(error)); copy the file again from its source")
    }
    let entries = try header.entries(dataLength: file.length - 8 - length) { FormatError.reading(path, $0) }
    self.path = path
    self.file = file
    self.metadata = header.metadata
    self.entries = entries
    dataStart = 8 + length
    places = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.name, $0) })
  }

  /// The entry of this name, or nil.
  public func entry(_ name: String) -> Entry? { places[name].map { entries[$0] } }

  /// The elements of one of ``entries``, row-major, little-endian.
  /// - Throws: ``FormatError`` where the file has been cut off meanwhile.
  public func bytes(of entry: Entry) throws -> [UInt8] {
    try file.bytes(at: dataStart + entry.range.lowerBound, count: entry.range.count)
  }

  private static func reason(_ error: any Error) -> String {
    switch error as? DecodingError {
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .keyNotFound(_, let context),
      .dataCorrupted(let context):
      let place = context.codingPath.map(\.stringValue).joined(separator: ".")
      return (place.isEmpty ? "" : "at '\(place)': ") + context.debugDescription
    default: return "\(error)"
    }
  }
}

/// The header as it stands in the file.
private struct Header: Decodable {
  private struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  private struct Tensor: Decodable {
    let dtype: String
    let shape: [Int]
    let data_offsets: [Int]
  }

  private(set) var metadata: [String: String] = [:]
  private var tensors: [(name: String, tensor: Tensor)] = []

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Key.self)
    for key in container.allKeys {
      if key.stringValue == "__metadata__" {
        metadata = try container.decode([String: String].self, forKey: key)
      } else {
        tensors.append((key.stringValue, try container.decode(Tensor.self, forKey: key)))
      }
    }
  }

  /// The tensors in the order of their data.
  func entries(dataLength: Int, failure: (String) -> FormatError) throws -> [SafetensorsReader.Entry] {
    var entries: [SafetensorsReader.Entry] = []
    for (name, tensor) in tensors {
      guard let type = Safetensors.ElementType(rawValue: tensor.dtype) else {
        let known = Safetensors.ElementType.allCases.map(\.rawValue).joined(separator: ", ")
        throw failure(
          "the tensor '\(name)' has the element type '\(tensor.dtype)'; the known ones are \(known)")
      }
      var size: Int? = type.size
      for extent in tensor.shape { size = size.flatMap { product($0, extent) } }
      guard let size, tensor.data_offsets.count == 2, let begin = tensor.data_offsets.first,
        let end = tensor.data_offsets.last, begin >= 0, end >= begin, end - begin == size
      else {
        throw failure(
          "the tensor '\(name)' of type \(tensor.dtype) and shape \(tensor.shape) has the data offsets "
            + "\(tensor.data_offsets), which do not fit; the file is damaged")
      }
      entries.append(.init(name: name, type: type, shape: tensor.shape, range: begin..<end))
    }
    entries.sort {
      ($0.range.lowerBound, $0.range.upperBound, $0.name) < ($1.range.lowerBound, $1.range.upperBound, $1.name)
    }
    var covered = 0
    for entry in entries {
      guard entry.range.lowerBound == covered else {
        throw failure(
          "the data of the tensor '\(entry.name)' begin at byte \(entry.range.lowerBound), those before end at "
            + "\(covered): gaps and overlaps are not allowed; the file is damaged")
      }
      covered = entry.range.upperBound
    }
    guard covered == dataLength else {
      throw failure(
        "its tensors have \(covered) bytes together, the file has \(dataLength) after its header; it is incomplete or "
          + "damaged")
    }
    return entries
  }
}
