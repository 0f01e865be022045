"""Started by run.sh."""
import kit

if __name__ == "__main__":
    kit.main()
