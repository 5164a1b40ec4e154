/// The binary files of CIFAR-10 and CIFAR-100: small colour images with their classes, one record behind the other.
///
/// Krizhevsky, "Learning multiple layers of features from tiny images", 2009; the layout is that of the data set's page.
public struct CIFAR: Sendable, Equatable {
  /// The two data sets.
  public enum Kind: Int, Sendable, CaseIterable {
    /// Records of a class 0…9 and the image.
    case cifar10 = 10
    /// Records of a coarse class 0…19, a fine class 0…99 and the image.
    case cifar100 = 100

    /// The numbers of classes of a record's labels.
    var labels: [Int] { self == .cifar10 ? [10] : [20, 100] }
  }

  /// Rows and columns of an image.
  public static let side = 32
  /// Bytes of an image: red, green and blue planes.
  public static let imageBytes = 3 * side * side

  /// The class of each image; of CIFAR-100 the fine one.
  public let classes: [UInt8]
  /// The coarse class of each image of CIFAR-100.
  public let coarseClasses: [UInt8]?
  /// [count, 3, 32, 32].
  public let pixels: [UInt8]

  /// Reads a file such as data_batch_1.bin.
  ///
  /// Throws `FormatError` where it is not a whole number of records or a class is too large.
  public static func read(_ path: String, _ kind: Kind = .cifar10) throws -> CIFAR {
    let file = try InputFile(path)
    let labels = kind.labels
    let record = labels.count + imageBytes
    let count = file.length / record
    guard count > 0, count * record == file.length else {
      let isPacked = try Gzip.isMagic(file.bytes(at: 0, count: min(2, file.length)))
      throw FormatError.reading(
        path,
        "a whole number of records of \(record) bytes was expected (CIFAR-\(kind.rawValue), binary version), it has "
          + "\(file.length) bytes"
          + (isPacked ? "; it is a packed archive, unpack it (tar xzf) and name the .bin files" : "; copy it again"))
    }
    guard isThereMemory(bytes: 2 * file.length) else {
      throw FormatError.reading(path, "its \(count) images need more memory than this process is given")
    }
    var classes = labels.map { _ in [UInt8]() }
    var pixels: [UInt8] = []
    pixels.reserveCapacity(count * imageBytes)
    for index in 0..<count {
      let bytes = try file.bytes(at: index * record, count: record)
      for (place, limit) in labels.enumerated() {
        guard bytes[place] < limit else {
          throw FormatError.reading(
            path,
            "record \(index + 1) has the class \(bytes[place]), expected 0 to \(limit - 1); it is no file of "
              + "CIFAR-\(kind.rawValue)")
        }
        classes[place].append(bytes[place])
      }
      pixels += bytes[labels.count...]
    }
    return CIFAR(classes: classes.last!, coarseClasses: labels.count > 1 ? classes[0] : nil, pixels: pixels)
  }
}
