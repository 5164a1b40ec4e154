import NormaFormats
import NormaNN
import NormaTensor

/// Weights of a Keras network for a network of Norma's.
///
/// Keras names a variable `layer/variable`. A map says which module of the network each layer is; variables and layouts follow from
/// Keras's conventions:
///
/// | Keras | here |
/// |---|---|
/// | `kernel` of a convolution [spatial…, in, out] | `weight` [out, in, spatial…] |
/// | `kernel` of a transposed convolution [spatial…, out, in] | `weight` [in, out, spatial…] |
/// | `kernel` of a dense layer [in, out] | `weight` [out, in] |
/// | `gamma`, `beta`, `moving_mean`, `moving_variance` | `weight`, `bias`, `running_mean`, `running_var` |
/// | `mean_weights`, `variance_weights` of ports of switchable normalization | `mean_weight`, `var_weight` |
/// | `embeddings`, `bias` | `weight`, `bias` |
///
/// A dense layer after a flattened image needs its inputs in another order besides: Keras has the channels last there.
public struct KerasImport {
  /// The module's key of every layer.
  public let map: [String: String]

  /// - Parameter map: keys of modules, such as `encoder.0.conv1.conv`, by names of Keras layers.
  public init(map: [String: String]) { self.map = map }

  /// Reads a map of one `layer = module` per line; `#` begins a comment.
  /// - Throws: ``KerasImportError`` that lists all lines that cannot be.
  public init(parsing text: String) throws {
    var (map, problems): ([String: String], [String]) = ([:], [])
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let content = line.prefix { $0 != "#" }.trimmed
      if content.isEmpty { continue }
      let parts = content.split(separator: "=", omittingEmptySubsequences: false).map(\.trimmed)
      if parts.count != 2 || parts.contains("") {
        problems.append("line \(index + 1): 'keras layer = module' was expected, got '\(content)'")
      } else if map.updateValue(parts[1], forKey: parts[0]) != nil {
        problems.append("line \(index + 1): the layer '\(parts[0])' is there twice")
      }
    }
    guard problems.isEmpty else { throw KerasImportError(problems) }
    self.map = map
  }

  private static let variables = [
    "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var", "mean_weights": "mean_weight", "variance_weights": "var_weight",
    "embeddings": "weight",
  ]

  /// Copies the variables into the network's parameters and buffers.
  /// - Parameter variables: by `layer/variable`; what follows a colon, as in `kernel:0`, does not count.
  /// - Throws: ``KerasImportError`` that lists everything that is unmapped, missing or misshaped; then nothing was copied.
  public func load(_ variables: [String: Tensor], into network: Module) throws {
    var state: [String: Tensor] = [:]
    var (problems, layers): ([String], Set<String>) = ([], [])
    for (path, tensor) in variables.sorted(by: { $0.key < $1.key }) {
      let parts = path.prefix { $0 != ":" }.split(separator: "/")
      let (layer, variable) = (parts.dropLast().joined(separator: "/"), String(parts.last ?? ""))
      layers.insert(layer)
      guard let module = map[layer] else {
        problems.append("'\(path)': the map has no layer '\(layer)'")
        continue
      }
      guard let member = Self.variables[variable] else {
        problems.append(
          "'\(path)': the known variables are \(Self.variables.keys.sorted().joined(separator: ", "))")
        continue
      }
      let key = "\(module).\(member)"
      if state.updateValue(variable == "kernel" ? try tensor.fromKerasKernel() : tensor, forKey: key) != nil {
        problems.append("'\(path)': '\(key)' comes from several variables")
      }
    }
    for layer in map.keys.sorted() where !layers.contains(layer) {
      problems.append("the map's layer '\(layer)' has no variables in the file")
    }
    if let mismatch = try network.mismatch(stateDictionary: state) { problems.append(mismatch.description) }
    guard problems.isEmpty else { throw KerasImportError(problems) }
    try network.load(stateDictionary: state)
  }
}

/// All that stands in the way of taking over Keras weights.
public struct KerasImportError: Error, CustomStringConvertible, Sendable {
  public let problems: [String]
  public var description: String {
    "the Keras weights cannot be taken over:" + problems.map { "\n  \($0)" }.joined()
  }
  init(_ problems: [String]) { self.problems = problems }
}

extension Tensor {
  /// [spatial…, a, b] → [b, a, spatial…].
  fileprivate func fromKerasKernel() throws -> Tensor {
    guard rank >= 2 else { return self }
    return try permuted([rank - 1, rank - 2] + Array(0..<rank - 2))
  }
}

extension Substring {
  fileprivate var trimmed: String {
    let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
    let start = drop(while: isBlank)
    return String(start.reversed().drop(while: isBlank).reversed())
  }
}
