/// What is wrong with data or with the way it is to be sampled, in one sentence for a person.
///
/// The sentence says what was expected, what was received and what to do about it.
public struct DataError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kind of mistake, for programs that react to one of them.
  public enum Kind: String, Sendable {
    /// Images and labels have different numbers of pages.
    case pageCount
    /// Images and labels have different heights or widths.
    case size
    /// Labels have more than one channel.
    case labelChannels
    /// A label value is not a whole number.
    case labelValue
    /// The labels hold too many different values, or only one.
    case classCount
    /// An image value is not a number or infinite.
    case imageValue
    /// The number of validation slices leaves one of the two parts empty.
    case split
    /// The crop does not fit into a slice.
    case crop
    /// A score is missing, is there twice or is not finite.
    case target
    /// A file or folder holds something else than it is named for.
    case files
    /// A parameter of the sampling or of the augmentation is outside its range.
    case parameter
  }

  /// The kind of mistake.
  public let kind: Kind
  /// Expected, received, remedy.
  public let message: String

  /// The message.
  public var description: String { message }

  /// Makes an error of `kind` that reads `message`.
  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }
}

/// Throws `DataError` for a number that is not positive.
func checkPositive(_ numbers: (name: String, value: Int)...) throws {
  for (name, value) in numbers where value < 1 {
    throw DataError(.parameter, "Expected \(name) of at least 1, received \(value); raise it.")
  }
}
