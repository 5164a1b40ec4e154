import NormaNN

/// A normalization as a value: what a configuration or a command line names, such as `group:8` or
/// `batch:momentum=0.01`.
public struct Normalization: Sendable, Hashable {
  /// The name of the member of the family.
  public let kind: String
  /// The name with its options, as ``init(parsing:)`` takes it.
  public let name: String

  /// What makes the layers of a ``custom(_:_:)`` one.
  private let make: NormalizationKind.Make?

  private init(_ name: String, make: NormalizationKind.Make? = nil) {
    self.name = name
    self.make = make
    kind = String(name.prefix { $0 != ":" })
  }

  /// By name; one of your own never equals a member of the family.
  public static func == (a: Normalization, b: Normalization) -> Bool {
    a.name == b.name && (a.make == nil) == (b.make == nil)
  }
  public func hash(into hasher: inout Hasher) { hasher.combine(name) }

  /// A normalization of your own in the place of the family's members.
  /// - Parameters:
  ///   - name: what tables call it; it is told from others by this alone.
  ///   - make: the layer for a number of channels.
  public static func custom(
    _ name: String, _ make: @escaping @Sendable (_ channels: Int) throws -> any Layer
  ) -> Normalization {
    Normalization(name, make: make)
  }

  /// No normalization: the control.
  public static let none = Normalization("none")
  /// ``BatchNorm`` as in PyTorch.
  public static let batch = Normalization("batch")
  /// ``SwitchableNorm`` of instance, layer and batch, as in its paper.
  public static let switchable = Normalization("switchable")
  /// ``InstanceNorm`` with γ and β, without running statistics.
  public static let instance = Normalization("instance")
  /// ``LayerNorm`` over channels and positions, with γ and β per channel.
  public static let layer = Normalization("layer")

  /// nil groups means min(32, C) of them.
  public static func group(groups: Int?) -> Normalization {
    Normalization(groups.map { "group:\($0)" } ?? "group")
  }

  /// The member's name, then its options, each after a colon: `group:8`, `switchable:instance+layer`,
  /// `batch:momentum=0.01:epsilon=1e-3`.
  /// - Throws: ``NormalizationError`` that lists the known names or options.
  public init(parsing text: String) throws {
    self.init(text)
    _ = try resolved()
  }

  /// The layer for the given number of channels, with a weight and bias per channel where the member has them; nil for
  /// ``none``.
  /// - Throws: ``NormalizationError`` when an option does not fit the channels, such as a number of groups.
  public func layer(channels: Int) throws -> (any Layer)? { try resolved()?(channels) }

  /// The layer for a place that no activation follows, such as before a residual sum: members that bring an activation come
  /// without it.
  /// - Throws: ``NormalizationError`` also for a member that cannot do without its activation.
  public func linearLayer(channels: Int) throws -> (any Layer)? {
    let plain =
      make == nil && kind == "frn" && !name.split(separator: ":").contains("plain")
      ? Normalization(name + ":plain") : self
    let layer = try plain.layer(channels: channels)
    if layer is EvoNorm {
      throw NormalizationError(
        "'\(name)' is its own activation, so it cannot stand where none is wanted; take another there")
    }
    return layer
  }

  /// - Throws: ``NormalizationError`` when ``layer(channels:)`` would.
  public func check(channels: Int) throws { _ = try layer(channels: channels) }

  private func resolved() throws -> NormalizationKind.Make? {
    if let make { return make }
    if name == "none" { return nil }
    guard let kind = NormalizationKind.all.first(where: { $0.name == kind }) else {
      throw NormalizationError(
        "unknown normalization '\(name)'; the known ones are \(NormalizationKind.knownNames.joined(separator: ", ")); "
          + "options follow after colons, as in group:8 or batch:momentum=0.01")
    }
    var options = NormalizationOptions(name, of: kind)
    let make = try kind.prepare(&options)
    try options.finish()
    return make
  }
}

/// A member of the family as the factory, the command line and the explanations know it.
public struct NormalizationKind: Sendable {
  /// Makes the layer for a number of channels, or throws where the member's options do not fit it.
  public typealias Make = @Sendable (_ channels: Int) throws -> any Layer

  /// An option in a name, after a colon.
  public struct Option: Sendable {
    /// `momentum=SHARE`, or the word itself.
    public let form: String
    /// What it does, and its default where it has one.
    public let help: String

    static let epsilon = Option(form: "epsilon=E", help: "added to the variance (default: 1e-5)")
    static let momentum = Option(
      form: "momentum=SHARE", help: "share of the new batch in the running statistics (default: 0.1)")
  }

  /// The name on the command line.
  public let name: String
  /// The name in full, such as `Group normalization`.
  public let title: String
  /// In one sentence.
  public let summary: String
  /// What may follow the name; empty for a member without options.
  public let options: [Option]
  /// The output y from the input x, in one line.
  public let formula: String
  /// Which cells of [N, C] share statistics, with what is taken over them; none where a layer pools nothing of the kind.
  public let statistics: [Statistic]
  /// Trained numbers as a formula in C, and for a number of channels.
  public let parameters: String
  /// ``parameters`` for C channels, under the default options.
  public let parameterCount: @Sendable (_ channels: Int) -> Int
  /// When to take it, as a clause that continues "use when".
  public let useWhen: String
  /// What speaks against it.
  public let weakness: String
  /// Authors and year of the paper, or the library that it is from.
  public let source: String
  let prepare: @Sendable (inout NormalizationOptions) throws -> Make

  /// Something that is taken over the cells that a partition puts together.
  public struct Statistic: Sendable {
    /// Under the default options, but for `group(2)`, which stands for any number of groups.
    public let partition: Partition
    /// `mean and variance`, `mean square`, …
    public let what: String

    init(_ partition: Partition, _ what: String = "mean and variance") {
      self.partition = partition
      self.what = what
    }
  }

  /// All members, the usual ones first.
  public static let all: [NormalizationKind] = [
    .batch, .layer, .instance, .group, .switchable, .rms, .filterResponse, .evoS0, .evoB0, .localResponse, .unit,
  ]

  /// The names that ``Normalization/init(parsing:)`` takes, without options.
  public static let knownNames = ["none"] + all.map(\.name)
}

/// The options in a normalization's name, taken one by one.
struct NormalizationOptions {
  private let text: String
  private let kind: NormalizationKind
  private var words: [String]

  init(_ text: String, of kind: NormalizationKind) {
    self.text = text
    self.kind = kind
    words = text.split(separator: ":", omittingEmptySubsequences: false).dropFirst().map(String.init)
  }

  /// Whether the word is there.
  mutating func flag(_ word: String) -> Bool {
    guard let index = words.firstIndex(of: word) else { return false }
    words.remove(at: index)
    return true
  }

  /// The value of `key=value`, or nil without one.
  mutating func value<Value: LosslessStringConvertible>(
    _ key: String, _ kindOfValue: String, where fits: (Value) -> Bool = { _ in true }
  ) throws -> Value? {
    guard let index = words.firstIndex(where: { $0.hasPrefix(key + "=") }) else { return nil }
    let given = words.remove(at: index).dropFirst(key.count + 1)
    guard let value = Value(String(given)), fits(value) else {
      throw NormalizationError("'\(text)': \(key) must be \(kindOfValue), got '\(given)'")
    }
    return value
  }

  /// The first word without `=` as a number of groups, or nil.
  mutating func groups() throws -> Int? {
    guard let word = word() else { return nil }
    guard let groups = Int(word), groups > 0 else {
      throw error("the number of groups must be a whole number above 0, as in \(kind.name):8, got '\(word)'")
    }
    return groups
  }

  /// The first word without `=`, or nil.
  mutating func word() -> String? {
    guard let index = words.firstIndex(where: { !$0.contains("=") }) else { return nil }
    return words.remove(at: index)
  }

  mutating func epsilon() throws -> Double? {
    try value("epsilon", "a finite number above 0") { $0 > 0 && $0.isFinite }
  }

  /// momentum as the share of the new batch.
  mutating func momentum() throws -> Double? {
    try value("momentum", "the share of the new batch, from 0 to 1") { (0...1).contains($0) }
  }

  func error(_ message: String) -> NormalizationError { NormalizationError("'\(text)': \(message)") }

  /// - Throws: ``NormalizationError`` when words are left.
  func finish() throws {
    guard let word = words.first else { return }
    let key = word.prefix { $0 != "=" }
    if text.split(separator: ":").filter({ $0.prefix { $0 != "=" } == key }).count > 1 {
      throw error("the option '\(key)' is there twice")
    }
    let known = kind.options.isEmpty ? "it has none" : "it knows \(kind.options.map(\.form).joined(separator: ", "))"
    throw error("unknown option '\(word)' of \(kind.name); \(known)")
  }
}
